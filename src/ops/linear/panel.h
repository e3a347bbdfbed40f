// Packed weights made ready for a product: the decoding of every type.
#pragma once

#include <cstdint>

#include "ops/linear/layout.h"
#include "ops/linear/linear.h"

namespace mamba3::cpu {

/// How the quants of a type stand for values: scale q + offset with one scale and offset for each group of
/// inputs and row. Types without minima have the same zero point everywhere: value = scale (q - zero).
struct QuantKind {
  std::int64_t group;  ///< inputs: 16 or 32
  bool minima;
  std::int32_t zero;
};
QuantKind quant_kind(DType type);  ///< of a quantized type

/// Whether Highway's choice of an instruction set, by processor or by a test, is AVX-512.
bool avx512_is_chosen();

/// Inputs of a panel: a block of a K-quant, and what one scale of the activations is for.
inline constexpr std::int64_t kPanelInputs = 256;

/// 16 rows and up to kPanelInputs inputs of quantized weights: quants as unsigned bytes [inputs / 4][16][4],
/// scale and offset [inputs / group][16]. `offset` is only written for types with minima.
struct QuantPanel {
  alignas(64) std::uint32_t quants[kPanelInputs / 4 * kTileRows];
  alignas(64) float scale[kPanelInputs / 16 * kTileRows];
  alignas(64) float offset[kPanelInputs / 32 * kTileRows];
};

/// Where a panel lies: inputs [first, first + count) of a tile; `first` is a multiple of kPanelInputs, `count`
/// of 32 and at most kPanelInputs.
struct PanelPlace {
  std::int64_t tile, first, count;
};

/// Unpacks the panel at `place` and asks the memory for the one at `next`, which the processor's own
/// prefetching cannot foresee: a panel is short, and panels of neighbouring tiles lie far apart.
void unpack_quants(const PackedMatrix& W, const PanelPlace& place, const PanelPlace& next, QuantPanel& panel);

}  // namespace mamba3::cpu
