// SPDX-License-Identifier: MIT OR Apache-2.0
//! How libkdreg.so is linked: its SONAME, its symbol versions, and the flags
//! that a library with a thread of its own needs. All of it is here, so that
//! plain cargo, cargo-c and make link the same thing.

#[path = "link/version.rs"]
mod version;

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=kdreg.map");
    println!("cargo:rerun-if-changed=link/version.rs");
    println!("cargo:rerun-if-changed=link/versioned.sh");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    // The SONAME counts breaks of the C ABI, and the major version is the one
    // number that only such a break may change. Cargo.toml tells cargo-c the
    // same with version_suffix_components = 1.
    let major = env::var("CARGO_PKG_VERSION_MAJOR").unwrap();
    link_arg(&format!("-Wl,-soname,libkdreg.so.{major}"));
    // dlclose() must not unmap code that the handler thread is running.
    link_arg("-Wl,-z,nodelete");
    // No lazy binding: the handler thread must never enter the dynamic loader.
    link_arg("-Wl,-z,now");
    // Without the C face there is nothing to export, and nothing to version.
    let capi = env::var_os("CARGO_FEATURE_CAPI").is_some();
    let loom = env::var_os("CARGO_CFG_LOOM").is_some();
    if capi && !loom {
        let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
        version::symbols(&root.join("kdreg.map"), &root.join("link/versioned.sh"));
    }
}

fn link_arg(arg: &str) {
    println!("cargo:rustc-cdylib-link-arg={arg}");
}
