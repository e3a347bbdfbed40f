# The backend for NVIDIA GPUs: machine code for every generation from compute capability 8.0 on that the compiler knows,
# and PTX for those to come. CUDA's run-time library is linked statically, cuBLASLt (700 MB) dynamically.
if(NOT MAMBA3_CUDA)
  return()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 100-real 120-real 90-virtual)
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  find_program(nvcc nvcc HINTS /usr/local/cuda/bin)
  set(CMAKE_CUDA_COMPILER ${nvcc})
endif()
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc has C++20
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} --expt-relaxed-constexpr -lineinfo")
find_package(CUDAToolkit REQUIRED)
# Found where this machine has it, or by the loader's path (LD_LIBRARY_PATH) on another.
set(MAMBA3_CUDA_LIBRARIES CUDA::cudart_static CUDA::cublasLt)
