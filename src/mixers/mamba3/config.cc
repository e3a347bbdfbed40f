#include "mixers/mamba3/config.h"

#include "core/error.h"

namespace mamba3 {
namespace {

// Far above every published model, and small enough that no product of two widths can wrap.
constexpr std::int64_t kLargestWidth = std::int64_t{1} << 24;

void check_size(const char* where, const char* name, std::int64_t value) {
  if (value < 1 || value > kLargestWidth) {
    fail(ErrorCode::invalid_argument, "{}: {} is {}, expected 1 to {}", where, name, value, kLargestWidth);
  }
}

}  // namespace

void Mamba3Config::check(const char* where) const {
  check_size(where, "d_model", d_model);
  check_size(where, "d_state", d_state);
  check_size(where, "expand", expand);
  check_size(where, "headdim", headdim);
  check_size(where, "ngroups", ngroups);
  check_size(where, "mimo_rank", mimo_rank);
  check_size(where, "the inner width expand * d_model", d_inner());
  if (d_inner() % headdim != 0) {
    fail(ErrorCode::invalid_argument,
         "{}: headdim {} does not divide the inner width {} (expand {} * d_model {})", where, headdim,
         d_inner(), expand, d_model);
  }
  if (n_heads() % ngroups != 0) {
    fail(ErrorCode::invalid_argument, "{}: ngroups {} does not divide the {} heads", where, ngroups,
         n_heads());
  }
  if (d_state % 2 != 0) {
    fail(ErrorCode::invalid_argument, "{}: d_state is {}, expected an even number (states rotate in pairs)",
         where, d_state);
  }
  if (!(rope_fraction >= 0 && rope_fraction <= 1)) {
    fail(ErrorCode::invalid_argument, "{}: rope_fraction is {}, expected 0 to 1", where, rope_fraction);
  }
  if (!(A_floor >= 0 && A_floor < 1e6)) {
    fail(ErrorCode::invalid_argument, "{}: A_floor is {}, expected a number from 0 to 1e6", where, A_floor);
  }
  if (bc_width() > kLargestWidth) {
    fail(ErrorCode::invalid_argument, "{}: mimo_rank {} * ngroups {} * d_state {} is above {}", where, rank(),
         ngroups, d_state, kLargestWidth);
  }
}

}  // namespace mamba3
