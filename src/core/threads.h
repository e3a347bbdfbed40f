// Sharing work between the threads of one process.
//
// A pool of our own rather than OpenMP: its parallel regions wait for every thread of a team to arrive, so
// that one busy neighbour on the machine stops a decode step of fifty short regions for fifty time slices
// (measured: 1,100 tokens a second became 8). Here work is claimed piece by piece, and a thread that has not
// woken up is not missed.
//
// With as many threads as physical cores, each helper keeps to a core of its own and the caller is free: on a
// quiet machine that changes nothing, beside a busy process it gains a little (docs/numerics.md).
// MAMBA3_PIN=0 in the environment leaves all of them free.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace mamba3 {

/// As in mamba3/model.h.
void set_threads(int threads);
int threads();

/// set_threads without its limit: a test may have more threads than processors, which is slow and right.
void use_threads(int threads);

/// Which of threads() the caller is, inside shared work: its place in scratch memory made for all of them.
int thread_index();

/// Calls piece(context, i) for i in [0, pieces), on the caller and on whichever threads are free; returns
/// when all are done. The first exception is thrown again. Inside shared work, or while another thread shares
/// work, the caller does it all. Pieces must not depend on which thread runs them.
void share(std::int64_t pieces, void (*piece)(void* context, std::int64_t i), void* context);

/// Calls work(i) for i in [0, count), handed out one by one.
template <typename Work>
void parallel_each(std::int64_t count, const Work& work) {
  using Plain = std::remove_const_t<Work>;
  share(
      count, [](void* context, std::int64_t i) { (*static_cast<Plain*>(context))(i); },
      const_cast<Plain*>(&work));
}

/// Pieces [0, count) in as many runs as there are threads, kMostRuns at most: thread i takes those of run i,
/// one by one, then what others have left. Loops over the same rows so find a row's data in the cache of the
/// core that made it.
class Runs {
 public:
  static constexpr int kMostRuns = 64;

  explicit Runs(std::int64_t count) : count_(count), runs_(std::min(threads(), kMostRuns)) {
    for (int run = 0; run < runs_; ++run) next_[run].piece.store(begin_of(run), std::memory_order_relaxed);
  }
  template <typename Work>
  void work(const Work& work) {
    for (int i = 0; i < runs_; ++i) {
      const int run = (thread_index() + i) % runs_;
      const std::int64_t end = begin_of(run + 1);
      for (std::int64_t piece; (piece = next_[run].piece.fetch_add(1, std::memory_order_relaxed)) < end;)
        work(piece);
    }
  }

 private:
  struct alignas(64) Next {
    std::atomic<std::int64_t> piece;
  };
  std::int64_t begin_of(int run) const { return count_ * run / runs_; }

  std::int64_t count_;
  int runs_;
  Next next_[kMostRuns];  // here, not on the heap: a step of decoding has fifty regions
};

/// Calls work(i) for i in [0, count), each thread beginning with a run of its own.
template <typename Work>
void parallel_runs(std::int64_t count, const Work& work) {
  Runs runs(count);
  parallel_each(std::min<std::int64_t>(count, threads()), [&](std::int64_t) { runs.work(work); });
}

/// Calls work(first, last) on pieces of [0, count) that are multiples of `grain` long (but for the last).
template <typename Work>
void parallel_ranges(std::int64_t count, const Work& work, std::int64_t grain = 1) {
  // Four pieces a thread: a thread that is held up leaves little behind, and claiming stays cheap.
  const std::int64_t wanted = 4 * threads();
  const std::int64_t length = ((count + wanted - 1) / wanted + grain - 1) / grain * grain;
  if (length >= count) {
    if (count > 0) work(std::int64_t{0}, count);
    return;
  }
  parallel_runs((count + length - 1) / length,
                [&](std::int64_t i) { work(i * length, std::min(count, (i + 1) * length)); });
}

}  // namespace mamba3
