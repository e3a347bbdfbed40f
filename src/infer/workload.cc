#include "infer/workload.h"

namespace mamba3 {

Workload Workload::of(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config;
  const Mamba3Config& m = config.mixer;
  Workload work;
  for (const Parameter& p : checkpoint.parameters) {
    const auto found = checkpoint.tensors.find(p.name);
    if (found == checkpoint.tensors.end()) continue;
    const bool embedding = p.name == "embedding",
               head = p.name == (config.tie_embeddings ? "embedding" : "head");
    if (!embedding || head) work.weight_bytes += std::ssize(found->second.bytes);
    if (p.shape.size() != 2) continue;  // vectors, and the ranks of MIMO, are no matrices
    if (head) work.head_operations = 2 * p.shape[0] * p.shape[1];
    if (!embedding && !head) work.token_operations += 2 * p.shape[0] * p.shape[1];
  }
  const std::int64_t H = m.n_heads(), R = m.rank(), N = m.d_state, P = m.headdim, S = m.n_angles();
  const std::int64_t state = H * (N * P + R * N + P + S);
  work.state_bytes = config.n_layer * state * static_cast<std::int64_t>(sizeof(float));
  work.token_operations += config.n_layer * 4 * H * R * N * P;
  return work;
}

}  // namespace mamba3
