// The rows of the table that `gpu_bench` prints, and what measuring one takes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/cuda/runtime.h"
#include "core/dtype.h"
#include "mamba3/model.h"

namespace mamba3::bench {

/// How far a result may be from its reference: relative errors in norm.
struct Check {
  double error = 0;
  double allowed = 0;
  bool holds() const { return error <= allowed; }  ///< false for NaN
};

struct Found {
  std::vector<double> values = {};  ///< samples: seconds, or ratios
  double bytes = 0;                 ///< that one run has to move at the least; 0: not counted
  double operations = 0;            ///< of one run; 0: not counted
  Check check = {};
};

/// What rows share: a stream, and the model that the last row used, since making one takes ten seconds.
class Workshop {
 public:
  Workshop(bool deep, bool exact) : deep_(deep), exact_(exact) {}

  cudaStream_t stream() const { return stream_.get(); }
  /// Whether texts of a million tokens are really read.
  bool deep() const { return deep_; }

  struct Made {
    Model model;
    Check check;  ///< its logits against the CPU's in float32
  };
  /// A model of random_shapes(), with matrices of `type`, on the GPU; in float32 when exact.
  const Made& model(const std::string& shape, DType type);

  /// Tells what is being done.
  void say(const std::string& what) const;

 private:
  bool deep_, exact_;
  cuda::Stream stream_;
  std::string kept_name_;
  std::unique_ptr<Made> kept_;
};

struct Row {
  std::string name;       ///< "scan/siso/16x4096"
  std::string what;       ///< the same for people
  double target = 0;      ///< seconds or a ratio; 0: none
  bool is_ratio = false;  ///< not a time
  std::function<Found(Workshop&)> measure;
};

/// What mixers and networks must compute; each file adds its rows in the table's order.
void add_scan_rows(std::vector<Row>& rows);
void add_step_rows(std::vector<Row>& rows);
void add_layer_rows(std::vector<Row>& rows);
void add_model_rows(std::vector<Row>& rows);
void add_start_row(std::vector<Row>& rows);

/// The other side of the last: loads `file`, reads a prompt, writes a token, prints the seconds since the
/// process was started.
void print_first_token(const std::string& file);

}  // namespace mamba3::bench
