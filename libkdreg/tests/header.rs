// SPDX-License-Identifier: MIT OR Apache-2.0
//! include/kdreg.h: generated, current, documented, and in step with kdreg.map.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header_path() -> PathBuf {
    root().join("../include/kdreg.h")
}

fn committed() -> String {
    fs::read_to_string(header_path()).expect("include/kdreg.h is missing: run `make header`")
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    // The C face alone: constants elsewhere in the crate are not for C.
    let bindings = cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join("src/ffi/mod.rs"))
        .generate()
        .expect("cbindgen reads src/ffi");
    let mut text = Vec::new();
    bindings.write(&mut text);
    String::from_utf8(text)
        .expect("the header is text")
        .trim_start()
        .to_owned()
}

/// With KDREG_WRITE_HEADER set this writes the header instead of comparing it.
#[test]
fn is_current() {
    let new = generated();
    if std::env::var_os("KDREG_WRITE_HEADER").is_some() {
        fs::create_dir_all(header_path().parent().unwrap()).unwrap();
        fs::write(header_path(), new).unwrap();
        return;
    }
    let old = committed();
    if let Some((number, (old, new))) = (1..)
        .zip(old.lines().zip(new.lines()))
        .find(|(_, (old, new))| old != new)
    {
        panic!(
            "include/kdreg.h is not what the source generates; run `make header`.\n\
             line {number} is:  {old}\n     should be:  {new}"
        );
    }
    assert!(
        old == new,
        "include/kdreg.h ends too early or too late; run `make header`"
    );
}

/// A declaration of a function, and whether a doc comment stands right before.
fn functions(header: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    let mut previous = "";
    let mut inside_comment = false;
    for line in header.lines() {
        let comment = inside_comment || line.trim_start().starts_with("/*");
        inside_comment = comment && !line.contains("*/");
        let declaration = !comment
            && line.starts_with(|c: char| c.is_ascii_lowercase())
            && !line.starts_with("typedef");
        if let (true, Some(at)) = (declaration, line.find('(')) {
            let name = line[..at].rsplit([' ', '*']).next().unwrap();
            if name.starts_with("kdreg_") {
                found.push((name.to_owned(), previous.trim_end().ends_with("*/")));
            }
        }
        previous = line;
    }
    found
}

#[test]
fn documents_every_function() {
    let functions = functions(&committed());
    assert!(
        functions.len() > 20,
        "only {} functions found",
        functions.len()
    );
    let bare: Vec<_> = functions
        .iter()
        .filter(|(_, documented)| !documented)
        .collect();
    assert!(bare.is_empty(), "functions without a doc comment: {bare:?}");
}

/// kdreg_valid is inline, so it is no symbol; all others must be linkable.
#[test]
fn declares_what_the_version_script_exports() {
    let declared: BTreeSet<_> = functions(&committed())
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| name != "kdreg_valid")
        .collect();
    let map = fs::read_to_string(root().join("kdreg.map")).expect("kdreg.map");
    let exported: BTreeSet<_> = map
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';'))
        .filter(|name| name.starts_with("kdreg_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(
        declared, exported,
        "left: include/kdreg.h, right: kdreg.map"
    );
}
