# SPDX-License-Identifier: MIT OR Apache-2.0
# Tests for an arm64 guest, built in the tree of kernel/tree/make-arm64-programs.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc-14)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++-14)
set(CMAKE_AR aarch64-linux-gnu-ar)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
