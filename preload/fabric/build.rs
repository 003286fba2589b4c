// SPDX-License-Identifier: MIT OR Apache-2.0
//! How libkdreg-fabric.so is linked: with the versions of the symbols it stands
//! in front of, and with libkdreg.so, whose one copy in a process all share.

#[path = "../../libkdreg/link/version.rs"]
mod version;

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The functions of libkdreg.so that it calls.
const IMPORTS: [&str; 3] = [
    "kdreg_fabric_import",
    "kdreg_fabric_stats",
    "kdreg_strerror",
];

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let library = root.join("../../libkdreg");
    for file in ["build.rs", "fabric.map"] {
        println!("cargo:rerun-if-changed={file}");
    }
    for file in ["kdreg.map", "link/version.rs", "link/versioned.sh"] {
        println!("cargo:rerun-if-changed={}", library.join(file).display());
    }
    import_library(&library.join("kdreg.map"));
    for argument in [
        "-Wl,-soname,libkdreg-fabric.so",
        // Installed beside libkdreg.so, wherever that is.
        "-Wl,-rpath,$ORIGIN",
        "-Wl,-z,now",
        // It leaves a function with atexit().
        "-Wl,-z,nodelete",
    ] {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
    version::symbols(&root.join("fabric.map"), &library.join("link/versioned.sh"));
}

/// What the linker needs to know of libkdreg.so: its name, and the versions of
/// the functions called. So that the two can be built in any order.
fn import_library(map: &std::path::Path) {
    let out = PathBuf::from(env::var("OUT_DIR").unwrap());
    let source = out.join("kdreg.c");
    let text: String = IMPORTS
        .map(|name| format!("void {name}(void) {{}}\n"))
        .concat();
    fs::write(&source, text).expect("OUT_DIR is writable");
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let major = env::var("CARGO_PKG_VERSION_MAJOR").unwrap();
    let status = Command::new(&linker)
        .args(["-shared", "-fPIC", "-nostdlib", "-o"])
        .arg(out.join("libkdreg.so"))
        .arg(&source)
        .arg(format!("-Wl,-soname,libkdreg.so.{major}"))
        .arg(format!("-Wl,--version-script={}", map.display()))
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{linker} cannot link a shared library"
    );
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=dylib=kdreg");
}
