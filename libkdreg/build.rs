// SPDX-License-Identifier: MIT OR Apache-2.0
//! How libkdreg.so is linked: its SONAME, its symbol versions, and the flags
//! that a library with a thread of its own needs. All of it is here, so that
//! plain cargo, cargo-c and make link the same thing.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=kdreg.map");
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
        version_symbols();
    }
}

/// Puts kdreg.map in the place of rustc's own version script; the reason and
/// the mechanism are in link/versioned.sh.
fn version_symbols() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").unwrap());
    let map = root.join("kdreg.map");
    let script = root.join("link/versioned.sh");
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    match Driver::of(&linker) {
        Driver::Gcc => {
            let words = [Path::new("sh"), &script, &map].map(|p| p.to_str().unwrap());
            assert!(
                words.iter().all(|w| !w.contains(',')),
                "gcc's -wrapper cannot take a path with a comma in it: move {} elsewhere",
                root.display()
            );
            link_arg("-wrapper");
            link_arg(&words.join(","));
        }
        Driver::Clang => {
            let ld = real_linker(&linker);
            link_arg(&format!("--ld-path={}", ld_script(&script, &map, &ld)));
        }
        Driver::Unknown => println!(
            "cargo:warning=the linker {linker} is neither gcc nor clang: \
             libkdreg.so gets no symbol versions"
        ),
    }
}

/// What drives the link. Each kind has its own way to put a script in front of
/// the linker proper.
enum Driver {
    Gcc,
    Clang,
    Unknown,
}

impl Driver {
    fn of(linker: &str) -> Driver {
        let Ok(output) = Command::new(linker).arg("--version").output() else {
            return Driver::Unknown;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("clang") {
            Driver::Clang
        } else if text.contains("Free Software Foundation") {
            Driver::Gcc
        } else {
            Driver::Unknown
        }
    }
}

/// The linker clang would have run: lld where there is one.
fn real_linker(clang: &str) -> PathBuf {
    let find = |name: &str| {
        let output = Command::new(clang)
            .arg(format!("-print-prog-name={name}"))
            .output()
            .ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.is_absolute().then_some(path)
    };
    find("ld.lld")
        .or_else(|| find("ld"))
        .unwrap_or_else(|| "ld".into())
}

/// clang's --ld-path takes one executable and no arguments: write that.
fn ld_script(script: &Path, map: &Path, ld: &Path) -> String {
    let quote = |p: &Path| format!("'{}'", p.to_str().unwrap().replace('\'', r"'\''"));
    let path = PathBuf::from(env::var("OUT_DIR").unwrap()).join("ld");
    let text = format!(
        "#!/bin/sh\nexec sh {} {} {} \"$@\"\n",
        quote(script),
        quote(map),
        quote(ld)
    );
    fs::write(&path, text).expect("OUT_DIR is writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod in OUT_DIR");
    path.to_str().unwrap().to_owned()
}

fn link_arg(arg: &str) {
    println!("cargo:rustc-cdylib-link-arg={arg}");
}
