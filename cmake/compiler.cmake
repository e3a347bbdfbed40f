# Flags every target shares; nvcc has its own (cuda.cmake).
add_library(mamba3_flags INTERFACE)
target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra;-Wshadow;-Wno-unused-parameter>")
# A compiler may fuse a*b+c in one loop body and not in its remainder; the same bits however a prompt is cut
# need the same operations for every element, so only explicit fused multiply-adds are allowed.
target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-ffp-contract=off>")
# Lowest x86 that runs: SSE4.2 with AES (2010), which is Highway's SSE4 target; AVX2 and AVX-512 are chosen at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-march=x86-64-v2;-maes;-mpclmul>")
endif()
# Arrays of vectors, which our tiles are, need vectors of a known size: NEON, not SVE. Highway compiles its NEON with
# +crypto; without it here, constructors that the compiler makes itself could not hold such vectors. No code uses it.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-march=armv8-a+crypto>")
  target_compile_definitions(mamba3_flags INTERFACE
                             "HWY_DISABLED_TARGETS=(HWY_SVE|HWY_SVE_256|HWY_SVE2|HWY_SVE2_128)")
endif()
if(MAMBA3_WERROR)
  target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-Werror>")
endif()
if(MAMBA3_SANITIZE)
  target_compile_options(mamba3_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=${MAMBA3_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g>")
  target_link_options(mamba3_flags INTERFACE -fsanitize=${MAMBA3_SANITIZE})
endif()
