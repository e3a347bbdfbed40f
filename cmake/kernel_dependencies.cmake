# What a build of the kernels alone stands on, without a compiled library: fmt and Highway as headers (links to the
# host's, in a folder of their own, so that nothing else of the host's /usr/include is seen), GoogleTest from source.
find_package(Threads REQUIRED)
set(headers ${PROJECT_BINARY_DIR}/headers)
foreach(library fmt hwy)
  if(NOT EXISTS /usr/include/${library})
    message(FATAL_ERROR "/usr/include/${library}: expected the headers of ${library} (lib${library}-dev), found none")
  endif()
  file(MAKE_DIRECTORY ${headers})
  file(CREATE_LINK /usr/include/${library} ${headers}/${library} SYMBOLIC)
endforeach()

add_library(fmt_headers INTERFACE)
add_library(fmt::fmt ALIAS fmt_headers)
target_include_directories(fmt_headers SYSTEM INTERFACE ${headers})
target_compile_definitions(fmt_headers INTERFACE FMT_HEADER_ONLY)

add_library(hwy_one_target STATIC ${CMAKE_CURRENT_LIST_DIR}/one_target.cc)
add_library(PkgConfig::hwy ALIAS hwy_one_target)
target_include_directories(hwy_one_target SYSTEM PUBLIC ${headers})
target_compile_definitions(hwy_one_target PUBLIC HWY_COMPILE_ONLY_STATIC)  # one instruction set: the baseline
target_link_libraries(hwy_one_target PRIVATE mamba3_flags)

if(MAMBA3_TESTS)
  set(INSTALL_GTEST OFF CACHE BOOL "" FORCE)
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
  target_compile_options(gtest PRIVATE -w)  # an optimizer's false alarm in its sources is not ours
endif()
