// SPDX-License-Identifier: MIT OR Apache-2.0
//! `bpf/kdreg_log.h` and the library's `abi.rs` say the same: a C compiler is
//! asked.

use kdreg::monitor::bpf::abi;
use std::io::Write;
use std::mem::offset_of;
use std::process::{Command, Stdio};

/// Assertions for the compiler.
fn assertions() -> String {
    let mut text = String::from(
        "typedef unsigned __u32; typedef unsigned long long __u64;\n#include \"kdreg_log.h\"\n",
    );
    let mut equal = |what: &str, value: u64| {
        text += &format!("_Static_assert({what} == {value}ULL, \"{what}\");\n");
    };
    macro_rules! layout {
        ($c:literal, $rust:ty, $($field:ident),*) => {
            $(equal(
                concat!("__builtin_offsetof(struct ", $c, ", ", stringify!($field), ")"),
                offset_of!($rust, $field) as u64,
            );)*
        };
    }
    layout!(
        "kdreg_log_entry",
        abi::LogEntry,
        sequence,
        start,
        end,
        change
    );
    layout!(
        "kdreg_log",
        abi::LogHeader,
        tail,
        magic,
        version,
        capacity,
        mode,
        flags,
        identity,
        done
    );
    layout!("kdreg_guard", abi::Guard, word, magic, version, flags);
    equal(
        "sizeof(struct kdreg_log_entry)",
        size_of::<abi::LogEntry>() as u64,
    );
    equal("sizeof(struct kdreg_guard)", size_of::<abi::Guard>() as u64);
    equal(
        "sizeof(struct kdreg_log)",
        u64::from(crate::kernel::clients::ELEMENT),
    );
    equal(
        "KDREG_LOG_ELEMENT",
        u64::from(crate::kernel::clients::ELEMENT),
    );
    equal("KDREG_LOG_MAGIC", abi::LOG_MAGIC);
    equal("KDREG_GUARD_MAGIC", abi::GUARD_MAGIC);
    equal("KDREG_BPF_VERSION", u64::from(abi::VERSION));
    equal("KDREG_LOG_DEAD", abi::LOG_DEAD);
    equal("KDREG_GUARD_DEAD", abi::GUARD_DEAD);
    equal("KDREG_GUARD_HELD", abi::GUARD_HELD);
    equal("KDREG_GUARD_UNINSTALLED", abi::GUARD_UNINSTALLED.into());
    equal("KDREG_LOG_ENTRIES", abi::LOG_ENTRIES as u64);
    equal("KDREG_GUARD_EPOCH_SHIFT", u64::from(abi::GUARD_EPOCH_SHIFT));
    equal("KDREG_MODE_NOTIFIER", u64::from(abi::MODE_NOTIFIER));
    equal("KDREG_MODE_FLUSH", u64::from(abi::MODE_FLUSH));
    text
}

/// Whether the compiler agrees.
fn agrees(text: &str) -> bool {
    let mut compiler = Command::new("clang")
        .args(["-x", "c", "-std=c11", "-fsyntax-only", "-I../../bpf", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clang, which has compiled the programs");
    let mut input = compiler.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("clang reads");
    drop(input);
    compiler.wait().expect("clang ends").success()
}

#[test]
fn the_layouts_are_the_same() {
    let text = assertions();
    assert!(agrees(&text));
    // It is asked in earnest.
    assert!(!agrees(
        &text.replace("KDREG_LOG_ENTRIES == 128", "KDREG_LOG_ENTRIES == 64")
    ));
}
