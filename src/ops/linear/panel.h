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

/// Inputs of a panel: a block of a K-quant, and what one scale of the activations is for.
inline constexpr std::int64_t kPanelInputs = 256;

/// 16 rows and up to kPanelInputs inputs of quantized weights: quants as unsigned bytes [inputs / 4][16][4],
/// scale and offset [inputs / group][16]. `offset` is only written for types with minima.
struct QuantPanel {
  alignas(64) std::uint32_t quants[kPanelInputs / 4 * kTileRows];
  alignas(64) float scale[kPanelInputs / 16 * kTileRows];
  alignas(64) float offset[kPanelInputs / 32 * kTileRows];
};

/// Inputs [first, first + count) of a tile; `first` is a multiple of kPanelInputs, `count` of 32 and at most
/// kPanelInputs.
void unpack_quants(const PackedMatrix& W, std::int64_t tile, std::int64_t first, std::int64_t count,
                   QuantPanel& panel);

}  // namespace mamba3::cpu
