# SPDX-License-Identifier: MIT OR Apache-2.0
# Tests that run in a guest, listed by ctest like any other.
#
#   include(vm/guest.cmake)
#   guest_group(kernel OPTIONS --rdma --swap 256)
#   add_guest_test(monitor-munmap munmap_test ARGS --rounds 100 TIMEOUT 60)
#
# All tests of a group run in one guest boot (another one follows only when a
# test took the guest down). The boot is a test fixture: `ctest -R <name>` or
# `ctest -L kernel` runs it first, as needed, and then reads each test's result.

set(GUEST_VM_DIR ${CMAKE_CURRENT_LIST_DIR})

# guest_group(name [OPTIONS option...]): a group whose guests get these options
# of vm/run besides `--module kernel/kdreg.ko`. To be called once, and before
# the group's tests are added. A group that counts instructions (--icount) has
# the label "instructions", too: those of a kernel that checks itself say nothing.
function(guest_group group)
    cmake_parse_arguments(ARG "" "" "OPTIONS" ${ARGN})
    set(labels kernel)
    if("--icount" IN_LIST ARG_OPTIONS)
        list(APPEND labels instructions)
    endif()
    set_property(GLOBAL PROPERTY GUEST_LABELS_${group} "${labels}")
    set(dir ${CMAKE_BINARY_DIR}/guest/${group})
    # Programs of tests that are gone must not run again.
    file(REMOVE_RECURSE ${dir})
    file(MAKE_DIRECTORY ${dir})

    add_test(NAME guest-${group}-boot
        COMMAND ${GUEST_VM_DIR}/run-group ${dir} --share ${CMAKE_BINARY_DIR} ${ARG_OPTIONS})
    # vm/run has a limit of its own, from those of its tests. Guests may run beside
    # each other (ctest --parallel): no test in one goes by the time of day, and
    # those that count do it where time is instructions.
    set_tests_properties(guest-${group}-boot PROPERTIES
        FIXTURES_SETUP guest-${group} LABELS "${labels}" COST 100 TIMEOUT 43200)

    # What concerns no test in particular: the guest's end, its kernel log, leaks,
    # the removal of the module.
    add_test(NAME guest-${group}-log COMMAND ${GUEST_VM_DIR}/test-status ${dir})
    set_tests_properties(guest-${group}-log PROPERTIES
        FIXTURES_REQUIRED guest-${group} LABELS "${labels}" TIMEOUT 60)
    set_property(GLOBAL APPEND PROPERTY GUEST_GROUPS ${group})
endfunction()

# add_guest_test(name target [ARGS argument...] [TIMEOUT seconds] [GROUP group]
#                [ENVIRONMENT name=value...])
# target is an executable target or a script's path. Exit status 77 skips.
function(add_guest_test name target)
    cmake_parse_arguments(ARG "" "TIMEOUT;GROUP" "ARGS;ENVIRONMENT" ${ARGN})
    if(NOT ARG_GROUP)
        set(ARG_GROUP kernel)
    endif()
    if(NOT ARG_TIMEOUT)
        set(ARG_TIMEOUT 400)
    endif()
    get_property(groups GLOBAL PROPERTY GUEST_GROUPS)
    if(NOT ARG_GROUP IN_LIST groups)
        message(FATAL_ERROR "add_guest_test(${name}): call guest_group(${ARG_GROUP}) first")
    endif()
    set(dir ${CMAKE_BINARY_DIR}/guest/${ARG_GROUP})
    if(TARGET ${target})
        set(program $<TARGET_FILE:${target}>)
    else()
        get_filename_component(program ${target} ABSOLUTE)
    endif()
    set(command "")
    foreach(word IN LISTS ARG_ENVIRONMENT)
        string(REPLACE "'" "'\\''" word "${word}")
        string(APPEND command "export '${word}'\n")
    endforeach()
    string(APPEND command "exec '${program}'")
    foreach(word IN LISTS ARG_ARGS)
        string(REPLACE "'" "'\\''" word "${word}")
        string(APPEND command " '${word}'")
    endforeach()
    file(GENERATE OUTPUT ${dir}/${name}
        CONTENT "#!/bin/sh\n# timeout: ${ARG_TIMEOUT}\n${command}\n"
        FILE_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE
            GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)

    get_property(labels GLOBAL PROPERTY GUEST_LABELS_${ARG_GROUP})
    add_test(NAME ${name} COMMAND ${GUEST_VM_DIR}/test-status ${dir} ${name})
    set_tests_properties(${name} PROPERTIES
        FIXTURES_REQUIRED guest-${ARG_GROUP} LABELS "${labels}"
        SKIP_RETURN_CODE 77 TIMEOUT 60)
endfunction()

# The rig's test of itself.
function(add_guest_selftest)
    add_test(NAME guest-rig COMMAND ${GUEST_VM_DIR}/selftest)
    set_tests_properties(guest-rig PROPERTIES
        LABELS kernel RESOURCE_LOCK guest PROCESSORS 2 TIMEOUT 1800)
endfunction()
