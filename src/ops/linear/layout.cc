#include "ops/linear/layout.h"

#include "core/error.h"

namespace mamba3::cpu {

const BlockFields& fields_of(DType type) {
  const BlockFields* fields = find_fields(type);
  if (fields == nullptr)
    fail(ErrorCode::unsupported, "there is no product for weights of type {}", name_of(type));
  return *fields;
}

}  // namespace mamba3::cpu
