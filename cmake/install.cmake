# `cmake --install`: the program, one static library made of all rooms with its headers and CMake package, and what
# packaging/ and models/ hold.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

# The objects of all rooms in libmamba3.a; the libraries that the rooms name become its own (but for nlohmann_json,
# which is headers alone and in no public header).
get_property(rooms GLOBAL PROPERTY MAMBA3_ROOMS)
add_library(mamba3_library STATIC)
set_target_properties(mamba3_library PROPERTIES OUTPUT_NAME mamba3 EXPORT_NAME mamba3)
foreach(room ${rooms})
  target_sources(mamba3_library PRIVATE $<TARGET_OBJECTS:${room}>)
  get_target_property(links ${room} INTERFACE_LINK_LIBRARIES)
  list(FILTER links EXCLUDE REGEX "mamba3_|^nlohmann_json::")
  target_link_libraries(mamba3_library PRIVATE ${links})
endforeach()
target_compile_features(mamba3_library PUBLIC cxx_std_20)
target_include_directories(mamba3_library INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                                            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
add_library(mamba3::mamba3 ALIAS mamba3_library)

set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/mamba3)
install(TARGETS mamba3_library EXPORT mamba3Targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT mamba3Targets NAMESPACE mamba3:: DESTINATION ${package_folder})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/mamba3Config.cmake.in ${PROJECT_BINARY_DIR}/mamba3Config.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/mamba3ConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/mamba3Config.cmake ${PROJECT_BINARY_DIR}/mamba3ConfigVersion.cmake
        DESTINATION ${package_folder})
install(DIRECTORY include/mamba3 DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})

if(TARGET mamba3_cli)
  install(TARGETS mamba3_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/mamba3 FILES_MATCHING PATTERN "*.gguf")
install(FILES packaging/mamba3.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1 OPTIONAL)
set(completions packaging/completions)
install(FILES ${completions}/mamba3.bash RENAME mamba3 OPTIONAL
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${completions}/_mamba3 DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions OPTIONAL)
install(FILES ${completions}/mamba3.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d OPTIONAL)
