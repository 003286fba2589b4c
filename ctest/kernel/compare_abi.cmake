# SPDX-License-Identifier: MIT OR Apache-2.0
# cmake -DC_TABLE=program -DRUST_TABLE=program -P compare_abi.cmake
execute_process(COMMAND "${C_TABLE}" OUTPUT_VARIABLE c COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${RUST_TABLE}" OUTPUT_VARIABLE rust COMMAND_ERROR_IS_FATAL ANY)
if(NOT c STREQUAL rust)
    message(FATAL_ERROR "kdreg2.h and uapi.rs disagree.\n--- kdreg2.h:\n${c}--- uapi.rs:\n${rust}")
endif()
