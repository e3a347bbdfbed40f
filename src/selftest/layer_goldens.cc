#include "selftest/layer_goldens.h"

#include <array>
#include <limits>
#include <string_view>

#include "core/error.h"
#include "core/half.h"
#include "selftest/compare.h"
#include "selftest/convert.h"
#include "selftest/layer_inputs.h"

namespace mamba3::selftest {
namespace {

/// NaN everywhere. A golden that has the tensor must have it in this shape.
Array unwritten(const Golden& golden, const std::string& tensor, const Shape& shape) {
  if (golden.has(tensor)) golden.values(tensor, shape);
  const auto count = static_cast<std::size_t>(checked_elements(shape).value_or(0));
  return {shape, Values(count, std::numeric_limits<double>::quiet_NaN())};
}

void place(Array& to, std::int64_t first_row, std::int64_t rows, const Values& values) {
  const auto width = static_cast<std::int64_t>(to.values.size()) / rows;
  std::copy(values.begin(), values.end(), to.values.begin() + first_row * width);
}

/// state.*, one row for each of `states`, whose shape begins with `front`.
void place_states(const Golden& golden, const Shape& front, const std::vector<State>& states, Arrays& found) {
  for (const StatePart& part : state_parts(golden.config)) {
    const auto name = std::string("state.") + part.name;
    Array array = unwritten(golden, name, prepended(front, part.shape));
    for (std::size_t q = 0; q < states.size(); ++q) {
      place(array, static_cast<std::int64_t>(q), static_cast<std::int64_t>(states.size()),
            states[q].*part.values);
    }
    found[name] = std::move(array);
  }
}

Calls calls_of(std::int64_t tokens, Way way) {
  switch (way) {
    case Way::whole:
      return {{tokens}};
    case Way::cut:
      return cut_in_calls(tokens);
    case Way::mixed:
      return calls_and_steps(tokens);
    case Way::apart:
      return {{tokens, true}};
  }
  return {};
}

Arrays run_mixer(const Implementation& implementation, const Golden& golden, Way way) {
  const Mamba3Config& c = golden.config;
  const Params params = mixer_params(golden);
  const auto sizes = leading_sizes(golden, "u", 3, 2);
  const Shape shape = {sizes[0], sizes[1], c.d_model};
  const auto rows = sizes[0] * sizes[1];
  const Values& u = golden.values("u", shape);
  const auto sequences = sequences_of(golden, sizes[0], sizes[1]);
  auto states = start_states(golden, static_cast<std::int64_t>(sequences.size()));
  Arrays found;
  found["out"] = unwritten(golden, "out", shape);
  for (std::size_t q = 0; q < sequences.size(); ++q) {
    const auto part = rows_between(u, rows, sequences[q].begin, sequences[q].end);
    const auto out = implementation.mixer(params, c, part, calls_of(sequences[q].tokens(), way), states[q]);
    place(found["out"], sequences[q].begin, rows, out);
  }
  place_states(golden, {static_cast<std::int64_t>(sequences.size())}, states, found);
  return found;
}

Arrays run_scan(const Implementation& implementation, const Golden& golden, Way way) {
  const Mamba3Config& c = golden.config;
  const auto H = c.n_heads(), P = c.headdim, N = c.d_state, R = c.rank();
  const auto sizes = leading_sizes(golden, "x", 4, 2);
  const auto B = sizes[0], T = sizes[1];
  const ScanInput input = {B * T,
                           golden.values("q", {B, T, R, H, N}),
                           golden.values("k", {B, T, R, H, N}),
                           golden.values("x", {B, T, H, P}),
                           golden.values("z", {B, T, H, P}),
                           golden.values("adt", {B, T, H}),
                           golden.values("dt", {B, T, H}),
                           golden.values("trap", {B, T, H}),
                           golden.values("angle", {B, T, c.n_angles()})};
  const Params params = scan_params(golden);
  const auto sequences = sequences_of(golden, B, T);
  auto states = start_states(golden, static_cast<std::int64_t>(sequences.size()));
  Arrays found;
  found["y"] = unwritten(golden, "y", {B, T, R, H, P});
  found["out"] = unwritten(golden, "out", {B, T, H, P});
  for (std::size_t q = 0; q < sequences.size(); ++q) {
    const auto [begin, end] = sequences[q];
    const auto part = implementation.scan(params, c, rows_between(input, begin, end),
                                          calls_of(end - begin, way), states[q]);
    place(found["y"], begin, B * T, part.y);
    place(found["out"], begin, B * T, part.out);
  }
  place_states(golden, {static_cast<std::int64_t>(sequences.size())}, states, found);
  return found;
}

/// u [T, Q, D] of one session alone, [T, 1, D].
Values session_of(const Values& u, std::int64_t rows, std::int64_t sessions, std::int64_t session) {
  Values alone;
  for (auto row = session; row < rows; row += sessions) append(alone, rows_between(u, rows, row, row + 1));
  return alone;
}

Arrays run_steps(const Implementation& implementation, const Golden& golden, Way way) {
  const Mamba3Config& c = golden.config;
  const Params params = mixer_params(golden);
  const auto sizes = leading_sizes(golden, "u", 3, 2);
  const auto T = sizes[0], Q = sizes[1];
  const Values& u = golden.values("u", {T, Q, c.d_model});
  const auto start = start_states(golden, Q);
  std::vector<State> after;
  Arrays found;
  found["out"] = unwritten(golden, "out", {T, Q, c.d_model});
  if (way == Way::apart) {
    after.resize(static_cast<std::size_t>(T * Q));
    for (std::int64_t q = 0; q < Q; ++q) {
      std::vector<State> alone;
      const auto out = implementation.steps(params, c, session_of(u, T * Q, Q, q), {start[q]}, alone);
      for (std::int64_t t = 0; t < T; ++t) {
        place(found["out"], t * Q + q, T * Q, rows_between(out, T, t, t + 1));
        after[t * Q + q] = alone[t];
      }
    }
  } else {
    place(found["out"], 0, T * Q, implementation.steps(params, c, u, start, after));
  }
  place_states(golden, {T, Q}, after, found);
  return found;
}

/// Another way through a golden that must agree with the whole one.
struct Again {
  const char* label;
  Way way;
  bool same_bits;
};

struct Kind {
  std::string_view name;
  std::vector<std::string_view> rounded;  ///< in bfloat16: tensors whose names begin so
  std::vector<std::string> outputs;       ///< compared with the golden; gradients are to follow here
  std::vector<Again> again;
  Arrays (*run)(const Implementation&, const Golden&, Way);
};

const Kind& kind_of(const Golden& golden) {
  static const std::array<Kind, 3> kKinds = {{{"mixer",
                                               {"u", "param."},
                                               {"out", "state.theta", "state.h", "state.k", "state.x"},
                                               {{"cut in calls", Way::cut, true},
                                                {"calls and steps", Way::mixed, false},
                                                {"single steps", Way::apart, false}},
                                               run_mixer},
                                              {"scan",
                                               {"q", "k", "x", "z", "D", "mimo_"},
                                               {"y", "out", "state.theta", "state.h", "state.k", "state.x"},
                                               {{"cut in calls", Way::cut, true}},
                                               run_scan},
                                              {"step",
                                               {"u", "param."},
                                               {"out", "state.theta", "state.h", "state.k", "state.x"},
                                               {{"sessions alone", Way::apart, true}},
                                               run_steps}}};
  for (const Kind& kind : kKinds) {
    if (kind.name == golden.kind) return kind;
  }
  fail(ErrorCode::bad_format, "{}: the golden is of kind {}, expected mixer, scan, step or model",
       golden.name, golden.kind);
}

}  // namespace

Arrays run_layer(const Implementation& implementation, const Golden& golden, Way way) {
  return kind_of(golden).run(implementation, golden, way);
}

GoldenResult check_layer(const Implementation& implementation, const Golden& golden, Precision precision,
                         bool fast) {
  const Kind& kind = kind_of(golden);
  for (const auto& name : kind.outputs) golden.at(name);
  GoldenResult result{golden.name, golden.kind, {}, {}};
  const Arrays whole = run_layer(implementation, golden);
  for (const auto& name : kind.outputs) {
    result.tensors.push_back(compare(name, whole.at(name), golden.at(name), precision));
  }
  if (!fast) return result;
  for (const Again& again : kind.again) {
    const Arrays found = run_layer(implementation, golden, again.way);
    for (const auto& name : kind.outputs) {
      const auto label = fmt::format("{} ({})", name, again.label);
      result.tensors.push_back(again.same_bits ? same_bits(label, found.at(name), whole.at(name))
                                               : compare(label, found.at(name), whole.at(name), precision));
    }
  }
  return result;
}

Golden in_bf16(Golden golden) {
  for (auto& [name, array] : golden.tensors) {
    for (const auto prefix : kind_of(golden).rounded) {
      if (!name.starts_with(prefix)) continue;
      for (double& v : array.values) v = bf16_to_float(float_to_bf16(static_cast<float>(v)));
    }
  }
  for (auto& [name, array] : run_layer(*make_reference<float>(), golden))
    golden.tensors[name] = std::move(array);
  return golden;
}

}  // namespace mamba3::selftest
