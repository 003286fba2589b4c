// SPDX-License-Identifier: MIT OR Apache-2.0
//! Symbol versions for a cdylib. Part of the build scripts of the libraries
//! that have a version script.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Puts `map` in the place of rustc's own version script; the reason and the
/// mechanism are in `script`, which is versioned.sh beside this.
pub fn symbols(map: &Path, script: &Path) {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    match Driver::of(&linker) {
        Driver::Gcc => {
            let words = [Path::new("sh"), script, map].map(|p| p.to_str().unwrap());
            assert!(
                words.iter().all(|w| !w.contains(',')),
                "gcc's -wrapper cannot take a path with a comma in it: move {} elsewhere",
                map.display()
            );
            link_arg("-wrapper");
            link_arg(&words.join(","));
        }
        Driver::Clang => {
            let ld = real_linker(&linker);
            link_arg(&format!("--ld-path={}", ld_script(script, map, &ld)));
        }
        Driver::Unknown => println!(
            "cargo:warning=the linker {linker} is neither gcc nor clang: \
             the library gets no symbol versions"
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
