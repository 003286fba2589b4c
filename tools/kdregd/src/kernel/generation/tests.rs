// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

/// Whoever is behind such memory could keep a program, and with it kdregd, waiting.
#[test]
fn no_program_reads_the_memory_of_processes() {
    let readers = [
        libbpf_sys::BPF_FUNC_probe_read_user,
        libbpf_sys::BPF_FUNC_probe_read_user_str,
        libbpf_sys::BPF_FUNC_copy_from_user,
        libbpf_sys::BPF_FUNC_copy_from_user_task,
    ];
    let call = (libbpf_sys::BPF_JMP | libbpf_sys::BPF_CALL) as u8;
    let object = ObjectBuilder::default().open_memory(&OBJECT.0).unwrap();
    let mut calls = 0;
    for program in object.progs() {
        let section = program.section().to_string_lossy();
        assert!(!section.contains(".s/"), "{section} may sleep");
        for instruction in program.insns().iter().filter(|i| i.code == call) {
            calls += 1;
            let helper = instruction.imm as u32;
            let reads = instruction.src_reg() == 0 && readers.contains(&helper);
            assert!(!reads, "{section} calls helper {helper}");
        }
    }
    assert!(calls > 0);
}
