// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the BPF programs with clang, and names what they are by a hash: pins
//! of other programs are not taken for theirs.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::hash::Hasher;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let sources = PathBuf::from("../../bpf");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let object = out.join("kdreg.bpf.o");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=CLANG");

    // Names of libbpf, which its macros for arguments of functions depend on.
    let arch = match env::var("CARGO_CFG_TARGET_ARCH").as_deref() {
        Ok("x86_64") => "x86",
        Ok("aarch64") => "arm64",
        Ok("riscv64") => "riscv",
        Ok("powerpc64") => "powerpc",
        Ok("s390x") => "s390",
        other => panic!("no BPF programs for {other:?}"),
    };
    let headers = env::var("DEP_BPF_INCLUDE").expect("libbpf-sys says where its headers are");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let status = Command::new(&clang)
        // v3 has atomic operations that return a value.
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g"])
        .args(["-Wall", "-Wextra", "-Werror"])
        // BPF_PROG() leaves arguments and the context unused.
        .args(["-Wno-unused-parameter", "-Wno-sign-compare"])
        .arg(format!("-D__TARGET_ARCH_{arch}"))
        .arg(format!("-I{headers}"))
        // Nothing of the machine that builds is to be in the object.
        .arg(format!(
            "-ffile-prefix-map={}=.",
            env::current_dir().expect("a directory").display()
        ))
        .arg("-c")
        .arg(sources.join("kdreg.bpf.c"))
        .arg("-o")
        .arg(&object)
        .status()
        .unwrap_or_else(|error| panic!("{clang}: {error}"));
    assert!(status.success(), "{clang} failed");

    let bytes = std::fs::read(&object).expect("clang has written its output");
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    println!("cargo::rustc-env=KDREGD_BUILD={:016x}", hasher.finish());
}
