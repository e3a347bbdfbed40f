#include "cli/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "cli/bench_figures.h"
#include "infer/process.h"
#include "model/network.h"

namespace mamba3::cli {
namespace {

/// The types of the model's matrices, "Q4_K Q6_K".
std::string matrix_types(const Model& model) {
  const Checkpoint& checkpoint = model.network().checkpoint();
  std::set<std::string_view> types;
  for (const Parameter& p : checkpoint.parameters) {
    const auto found = checkpoint.tensors.find(p.name);
    if (p.precision == Precision::weight && found != checkpoint.tensors.end()) {
      types.insert(name_of(found->second.dtype));
    }
  }
  return fmt::format("{}", fmt::join(types, " "));
}

Json to_json(const Spread& s) {
  return {{"median", s.median}, {"min", s.least}, {"max", s.most}};
}

Json ceiling_json(const std::vector<double>& rates) {
  if (rates.empty()) return nullptr;
  const Spread s = spread_of(rates);
  return {{"median", s.median}, {"best", s.most}, {"worst", s.least}, {"measured", rates.size()}};
}

Json to_json(const PrefillFigure& figure, const Rate& rate) {
  return {{"tokens", figure.tokens},
          {"batch", figure.batch},
          {"tokens_per_s", to_json(rate.tokens_per_s)},
          {"seconds_per_token", rate.seconds_per_token},
          {"flops_per_token", rate.work_per_token},
          {"flops_per_s", rate.work_per_s},
          {"share_of_matrix_rate", rate.share}};
}

Json to_json(const DecodeFigure& figure, const Rate& rate) {
  return {{"depth", figure.depth},
          {"batch", figure.batch},
          {"tokens_per_s", to_json(rate.tokens_per_s)},
          {"seconds_per_token", rate.seconds_per_token},
          {"bytes_per_token", rate.work_per_token},
          {"bytes_per_s", rate.work_per_s},
          {"share_of_memory_bandwidth", rate.share},
          {"resident_memory_bytes", figure.resident_bytes}};
}

std::string ceiling_text(const std::vector<double>& rates, const char* unit) {
  const Spread s = spread_of(rates);
  return fmt::format("{:.1f} {} (best {:.1f})", 1e-9 * s.median, unit, 1e-9 * s.most);
}

std::string ceilings_text(const Ceilings& c, bool quantized) {
  std::string text = fmt::format("read bandwidth     {}\n", ceiling_text(c.memory, "GB/s"));
  text += fmt::format("matrix rate        {} {}", c.bf16.empty() ? "f32" : "bf16",
                      ceiling_text(c.matrix(), "GFLOP/s"));
  if (quantized && !c.int8.empty()) text += ", int8 " + ceiling_text(c.int8, "GOP/s");
  return text + "\n";
}

constexpr const char* kRow = "{:<26} {:>10} {:>21} {:>9} {:>10} {:>9} {:>8}\n";

std::string row(const std::string& name, const Rate& rate, double unit) {
  const Spread& s = rate.tokens_per_s;
  return fmt::format(
      kRow, name, fmt::format("{:.1f}", s.median), fmt::format("{:.1f} to {:.1f}", s.least, s.most),
      fmt::format("{:.3f}", 1e3 * rate.seconds_per_token), fmt::format("{:.2f}", unit * rate.work_per_token),
      fmt::format("{:.1f}", 1e-9 * rate.work_per_s), fmt::format("{:.3f}", rate.share));
}

std::string prefill_name(const PrefillFigure& figure) {
  return figure.batch == 1 ? fmt::format("  {} tokens", figure.tokens)
                           : fmt::format("  {} x {} tokens", figure.batch, figure.tokens);
}

std::string figures_text(const BenchReport& r) {
  const Ceilings& ceilings = r.measured.ceilings;
  std::string text = "\n";
  text += fmt::format(kRow, "prefill", "tokens/s", "least to most", "ms/token", "MFLOP/tok", "GFLOP/s",
                      "of rate");
  for (const PrefillFigure& figure : r.measured.prefill) {
    text += row(prefill_name(figure), rate_of(figure, r.work, ceilings), 1e-6);
  }
  text += "\n";
  text += fmt::format(kRow, "decode", "tokens/s", "least to most", "ms/token", "MB/token", "GB/s", "of read");
  for (const DecodeFigure& figure : r.measured.decode) {
    text += row(fmt::format("  depth {}, batch {}", figure.depth, figure.batch),
                rate_of(figure, r.work, ceilings), 1e-6);
  }
  text += "\n";
  return text;
}

PlotPoint point(double x, const Spread& rate) {
  return {x, rate.median, rate.least, rate.most};
}

/// Decode rates over one of the two numbers of a figure, a line for each value of the other.
PlotPanel decode_panel(const BenchReport& r, const char* name, const char* x_label,
                       std::int64_t DecodeFigure::*x, const char* other_name,
                       std::int64_t DecodeFigure::*other) {
  PlotPanel panel{fmt::format("Decode over {}", name), x_label, "tokens/s, all sessions together", true, {}};
  std::vector<std::int64_t> others;
  for (const DecodeFigure& figure : r.measured.decode) {
    const auto at = std::ranges::find(others, figure.*other) - others.begin();
    if (at == std::ssize(others)) {
      others.push_back(figure.*other);
      panel.lines.push_back({fmt::format("{} {}", other_name, figure.*other), {}});
    }
    const Rate rate = rate_of(figure, r.work, r.measured.ceilings);
    panel.lines[static_cast<std::size_t>(at)].points.push_back(
        point(static_cast<double>(figure.*x), rate.tokens_per_s));
  }
  return panel;
}

PlotPanel prefill_panel(const BenchReport& r) {
  PlotPanel panel{"Prefill over length", "tokens of a prompt", "tokens/s, all prompts together", true, {}};
  for (const std::int64_t batch : r.options.prompt_batches) {
    PlotLine& line = panel.lines.emplace_back(
        PlotLine{batch == 1 ? "prefill" : fmt::format("{} prompts at once", batch), {}});
    for (const PrefillFigure& figure : r.measured.prefill) {
      if (figure.batch != batch) continue;
      const Rate rate = rate_of(figure, r.work, r.measured.ceilings);
      line.points.push_back(point(static_cast<double>(figure.tokens), rate.tokens_per_s));
    }
  }
  return panel;
}

void sort_by_x(PlotPanel& panel) {
  for (PlotLine& line : panel.lines) std::ranges::sort(line.points, {}, &PlotPoint::x);
}

}  // namespace

Json to_json(const BenchReport& r) {
  const Ceilings& c = r.measured.ceilings;
  Json json = {{"model", r.model.name()},
               {"type", matrix_types(r.model)},
               {"processor", processor_name()},
               {"threads", threads()},
               {"repeats", r.options.repeats},
               {"decode_tokens", r.options.decode_tokens},
               {"checked_tokens", r.agreement.tokens},
               {"prefill_error", r.agreement.prefill_error},
               {"step_error", r.agreement.step_error},
               {"allowed_error", r.agreement.allowed},
               {"ceilings",
                {{"memory_bytes_per_s", ceiling_json(c.memory)},
                 {"f32_flops_per_s", ceiling_json(c.f32)},
                 {"bf16_flops_per_s", ceiling_json(c.bf16)},
                 {"int8_ops_per_s", ceiling_json(c.int8)}}},
               {"weight_bytes_per_step", r.work.weight_bytes},
               {"state_bytes_per_step", 2 * r.work.state_bytes},
               {"flops_per_prompt_token", r.work.token_operations},
               {"head_flops_per_prompt", r.work.head_operations},
               {"state_bytes", r.model.state_bytes()},
               {"prefill", Json::array()},
               {"decode", Json::array()},
               {"peak_memory_bytes", peak_memory_bytes()}};
  for (const PrefillFigure& figure : r.measured.prefill) {
    json["prefill"].push_back(to_json(figure, rate_of(figure, r.work, c)));
  }
  for (const DecodeFigure& figure : r.measured.decode) {
    json["decode"].push_back(to_json(figure, rate_of(figure, r.work, c)));
  }
  return json;
}

std::string to_text(const BenchReport& r) {
  const bool quantized = matrix_types(r.model).find('Q') != std::string::npos;
  return fmt::format(
             "model              {} ({})\n"
             "processor          {}, {} threads\n"
             "check              {} tokens: prefill differs by {:.1e}, steps by {:.1e}, {:.1e} allowed\n",
             r.model.name(), matrix_types(r.model), processor_name(), threads(), r.agreement.tokens,
             r.agreement.prefill_error, r.agreement.step_error, r.agreement.allowed) +
         ceilings_text(r.measured.ceilings, quantized) +
         fmt::format("bytes of a step    {} of weights once, {} of state a session, read and written\n",
                     shown_bytes(static_cast<double>(r.work.weight_bytes)),
                     shown_bytes(static_cast<double>(2 * r.work.state_bytes))) +
         figures_text(r) +
         fmt::format(
             "memory             {} a session; {} resident at the end, at most {} (with the check's "
             "reference)\n",
             shown_bytes(static_cast<double>(r.model.state_bytes())),
             shown_bytes(static_cast<double>(r.measured.decode.back().resident_bytes)),
             shown_bytes(static_cast<double>(peak_memory_bytes())));
}

Plot to_plot(const BenchReport& r) {
  Plot plot;
  plot.title = fmt::format("{} ({})", printable(r.model.name()), matrix_types(r.model));
  plot.subtitle = fmt::format("{}, {} threads; medians of {} rounds, bars from the least to the most",
                              processor_name(), threads(), r.options.repeats);
  plot.panels.push_back(
      decode_panel(r, "depth", "tokens read before", &DecodeFigure::depth, "batch", &DecodeFigure::batch));
  plot.panels.push_back(
      decode_panel(r, "batch", "sessions at once", &DecodeFigure::batch, "depth", &DecodeFigure::depth));
  if (r.measured.prefill.size() > 1) plot.panels.push_back(prefill_panel(r));
  std::ranges::for_each(plot.panels, sort_by_x);
  return plot;
}

}  // namespace mamba3::cli
