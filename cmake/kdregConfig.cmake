# SPDX-License-Identifier: MIT OR Apache-2.0
# find_package(kdreg) defines
#
#   kdreg::kdreg         the shared library, or the static one where it is alone
#   kdreg::kdreg_static  the static library, where it is installed
#
# Everything is looked for beside this file first, in the tree it was installed
# in, so that the tree may be moved and no other version is taken by accident.

# This file lies in <libdir>/cmake/kdreg.
get_filename_component(_kdreg_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
get_filename_component(_kdreg_above "${_kdreg_libdir}/.." ABSOLUTE)
get_filename_component(_kdreg_prefix "${_kdreg_above}/.." ABSOLUTE)

# The others are for an installation by cargo-c, which puts this file below
# <prefix>/lib whatever its --libdir is.
set(_kdreg_lib_hints "${_kdreg_libdir}" "${_kdreg_above}/lib64")
if(CMAKE_LIBRARY_ARCHITECTURE)
  list(APPEND _kdreg_lib_hints "${_kdreg_libdir}/${CMAKE_LIBRARY_ARCHITECTURE}")
endif()
# <prefix>/lib, or one level below it as in <prefix>/lib/<triplet>.
find_path(_kdreg_include kdreg.h
  HINTS "${_kdreg_above}/include" "${_kdreg_prefix}/include")
find_library(_kdreg_shared libkdreg.so HINTS ${_kdreg_lib_hints})
find_library(_kdreg_archive libkdreg.a HINTS ${_kdreg_lib_hints})

if(_kdreg_include AND _kdreg_archive AND NOT TARGET kdreg::kdreg_static)
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  include(CMakeFindDependencyMacro)
  find_dependency(Threads)
  add_library(kdreg::kdreg_static STATIC IMPORTED)
  set_target_properties(kdreg::kdreg_static PROPERTIES
    IMPORTED_LOCATION "${_kdreg_archive}"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    INTERFACE_INCLUDE_DIRECTORIES "${_kdreg_include}"
    # What Rust's standard library takes from libc; kdreg.pc says the same.
    INTERFACE_LINK_LIBRARIES "Threads::Threads;util;rt;m;dl")
endif()

if(_kdreg_include AND NOT TARGET kdreg::kdreg)
  if(_kdreg_shared)
    add_library(kdreg::kdreg SHARED IMPORTED)
    set_target_properties(kdreg::kdreg PROPERTIES
      IMPORTED_LOCATION "${_kdreg_shared}"
      INTERFACE_INCLUDE_DIRECTORIES "${_kdreg_include}")
  elseif(_kdreg_archive)
    add_library(kdreg::kdreg INTERFACE IMPORTED)
    set_target_properties(kdreg::kdreg PROPERTIES
      INTERFACE_LINK_LIBRARIES kdreg::kdreg_static)
  endif()
endif()

if(TARGET kdreg::kdreg)
  set(kdreg_FOUND TRUE)
else()
  set(kdreg_FOUND FALSE)
  set(kdreg_NOT_FOUND_MESSAGE
    "kdreg.h or the library is missing from the tree of ${CMAKE_CURRENT_LIST_DIR}: install libkdreg again")
endif()

foreach(_kdreg_name libdir above prefix lib_hints include shared archive)
  unset(_kdreg_${_kdreg_name})
  # Or a later look would find what an earlier one did, elsewhere.
  unset(_kdreg_${_kdreg_name} CACHE)
endforeach()
