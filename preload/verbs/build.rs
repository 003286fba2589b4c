// SPDX-License-Identifier: MIT OR Apache-2.0
//! How libkdreg-verbs.so is linked: with libibverbs's symbol versions, and to
//! libkdreg.so, of which a process must have one only.

#[path = "../../libkdreg/link/version.rs"]
mod version;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=verbs.map");
    println!("cargo:rerun-if-changed=../../libkdreg/link");
    println!("cargo:rerun-if-changed=../../libkdreg/kdreg.map");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let libkdreg = here.join("../../libkdreg");
    link_arg("-Wl,-soname,libkdreg-verbs.so");
    link_arg("-Wl,-z,nodelete");
    link_arg("-Wl,-z,now");
    // Both libraries are installed in one directory.
    link_arg("-Wl,-rpath,$ORIGIN");
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    import_library(&out, &libkdreg.join("kdreg.map"));
    link_arg(&format!("-L{}", out.display()));
    link_arg("-lkdreg");
    version::symbols(&here.join("verbs.map"), &libkdreg.join("link/versioned.sh"));
}

/// A libkdreg.so with the names and versions of the real one and nothing
/// behind them, to link with: cargo builds the members of a workspace in any
/// order.
fn import_library(out: &Path, map: &Path) {
    let text = fs::read_to_string(map).expect("kdreg.map");
    let mut source = String::new();
    for line in text.lines() {
        let name = line.trim().strip_suffix(';');
        if let Some(name) = name.filter(|name| name.starts_with("kdreg_")) {
            source.push_str(&format!("void {name}(void) {{}}\n"));
        }
    }
    let file = out.join("kdreg.c");
    fs::write(&file, source).expect("OUT_DIR is writable");
    let compiler = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let major = env::var("CARGO_PKG_VERSION_MAJOR").unwrap();
    let status = Command::new(&compiler)
        .args(["-shared", "-nostdlib", "-fPIC"])
        .arg(format!("-Wl,-soname,libkdreg.so.{major}"))
        .arg(format!("-Wl,--version-script={}", map.display()))
        .arg("-o")
        .arg(out.join("libkdreg.so"))
        .arg(&file)
        .status();
    assert!(
        matches!(status, Ok(status) if status.success()),
        "{compiler} cannot make a shared library"
    );
}

fn link_arg(arg: &str) {
    println!("cargo:rustc-cdylib-link-arg={arg}");
}
