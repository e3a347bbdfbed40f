# mamba3_room(NAME [ROOMS room...] [LINK target...]): src/NAME as the static library mamba3_NAME.
# New files are found by themselves; a room's floor is what it may link against. Without CUDA the room's entries to it
# come from src/no_cuda/NAME.cc.
function(mamba3_room name)
  cmake_parse_arguments(ARG "" "" "ROOMS;LINK" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cc)
  file(GLOB stub CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/no_cuda/${name}.cc)
  if(NOT sources)
    file(WRITE ${PROJECT_BINARY_DIR}/empty.cc "")
    set(sources ${PROJECT_BINARY_DIR}/empty.cc)
  endif()
  add_library(mamba3_${name} STATIC ${sources} ${stub})
  target_include_directories(mamba3_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR}/include)
  list(TRANSFORM ARG_ROOMS PREPEND mamba3_)
  target_link_libraries(mamba3_${name} PUBLIC ${ARG_ROOMS} ${ARG_LINK} PRIVATE mamba3_flags)
  set_property(GLOBAL APPEND PROPERTY MAMBA3_ROOMS mamba3_${name})
endfunction()
