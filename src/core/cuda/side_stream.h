// Work beside a stream.
#pragma once

#include "core/cuda/runtime.h"

namespace mamba3::cuda {

/// A second stream for small kernels that leave most of the device idle: what is put into get() between fork
/// and join runs beside what is put into the stream itself. Both calls may stand in a captured graph.
class SideStream {
 public:
  cudaStream_t get() const { return side_.get(); }

  /// get() goes on when all that is in `stream` is done.
  void fork(cudaStream_t stream) {
    forked_.record(stream);
    check(cudaStreamWaitEvent(side_.get(), forked_.get(), 0), "forking a stream");
  }
  /// `stream` goes on when all that is in get() is done.
  void join(cudaStream_t stream) {
    joined_.record(side_.get());
    check(cudaStreamWaitEvent(stream, joined_.get(), 0), "joining a stream");
  }

 private:
  Stream side_;
  Event forked_, joined_;
};

}  // namespace mamba3::cuda
