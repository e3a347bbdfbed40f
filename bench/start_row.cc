// From the start of a process to its first token.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "bench/bench.h"
#include "core/error.h"
#include "infer/agreement.h"
#include "infer/process.h"
#include "mamba3/session.h"
#include "model/network.h"

namespace mamba3::bench {
namespace {

constexpr std::int64_t kPromptTokens = 512;
constexpr int kRepeats = 3;

// Gone with its files at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "mamba3-bench-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) fail(ErrorCode::io, "{}: cannot be made", pattern);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// What this program prints when it is started to read `file`.
double seconds_of_a_start(const std::filesystem::path& file) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command = fmt::format("'{}' --first-token '{}'", program, file.string());
  std::FILE* out = popen(command.c_str(), "r");
  if (out == nullptr) fail(ErrorCode::io, "{}: cannot be started", command);
  double seconds = 0;
  const int read = std::fscanf(out, "%lf", &seconds);
  if (pclose(out) != 0 || read != 1) fail(ErrorCode::io, "{}: failed", command);
  return seconds;
}

Found measure(Workshop& shop) {
  const Workshop::Made& made = shop.model("mamba3-siso-1.5b", DType::bf16);
  Found found{.check = made.check};
  if (!found.check.holds()) return found;
  const TemporaryFolder folder;
  const auto file = folder.path() / "model.gguf";
  shop.say("writing a GGUF file");
  save_gguf(made.model.network().checkpoint(), file, DType::bf16);  // which leaves it in the file cache
  found.bytes = static_cast<double>(std::filesystem::file_size(file));
  shop.say("starting processes");
  for (int i = 0; i < kRepeats; ++i) found.values.push_back(seconds_of_a_start(file));
  return found;
}

}  // namespace

void print_first_token(const std::string& file) {
  const Model model = Model::load(file, Activations::rounded, "cuda");
  Session session(model);
  session.prefill(made_up_tokens(model, 0, kPromptTokens));
  const auto logits = session.logits();
  const auto token = std::ranges::max_element(logits) - logits.begin();
  fmt::print("{:.3f} seconds to token {}\n", seconds_since_process_start(), token);
}

void add_start_row(std::vector<Row>& rows) {
  rows.push_back(
      {"start/siso", "1.5B SISO bf16, process start to first token, 512-token prompt", 3, false, measure});
}

}  // namespace mamba3::bench
