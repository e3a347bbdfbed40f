// The whole C++ API.
#pragma once

#include "mamba3/error.h"      // IWYU pragma: export
#include "mamba3/model.h"      // IWYU pragma: export
#include "mamba3/sampler.h"    // IWYU pragma: export
#include "mamba3/session.h"    // IWYU pragma: export
#include "mamba3/tokenizer.h"  // IWYU pragma: export
