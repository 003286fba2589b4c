// SPDX-License-Identifier: MIT OR Apache-2.0
//! The headers in include/: generated, current, documented, and in step with
//! kdreg.map.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A generated header, what it is made from, and how; paths are relative to
/// the crate.
struct Header {
    path: &'static str,
    source: &'static str,
    config: &'static str,
}

const HEADERS: &[Header] = &[
    Header {
        path: "../include/kdreg.h",
        source: "src/ffi/mod.rs",
        config: "cbindgen.toml",
    },
    Header {
        path: "../include/kdreg/verbs.h",
        source: "src/adaptors/verbs/ffi.rs",
        config: "src/adaptors/verbs/cbindgen.toml",
    },
    Header {
        path: "../include/kdreg/uring.h",
        source: "src/adaptors/uring/ffi.rs",
        config: "src/adaptors/uring/cbindgen.toml",
    },
    Header {
        path: "../include/kdreg/fabric.h",
        source: "src/adaptors/fabric/ffi.rs",
        config: "src/adaptors/fabric/cbindgen.toml",
    },
];

impl Header {
    fn path(&self) -> PathBuf {
        root().join(self.path)
    }

    fn committed(&self) -> String {
        fs::read_to_string(self.path())
            .unwrap_or_else(|_| panic!("{} is missing: run `make header`", self.path))
    }

    fn generated(&self) -> String {
        let config = cbindgen::Config::from_file(root().join(self.config)).expect(self.config);
        // This C face alone: constants elsewhere in the crate are not for C.
        let bindings = cbindgen::Builder::new()
            .with_config(config)
            .with_src(root().join(self.source))
            .generate()
            .expect(self.source);
        let mut text = Vec::new();
        bindings.write(&mut text);
        String::from_utf8(text)
            .expect("the header is text")
            .trim_start()
            .to_owned()
    }

    fn compare(&self) {
        let (old, new) = (self.committed(), self.generated());
        if let Some((number, (old, new))) = (1..)
            .zip(old.lines().zip(new.lines()))
            .find(|(_, (old, new))| old != new)
        {
            panic!(
                "{} is not what {} generates; run `make header`.\n\
                 line {number} is:  {old}\n     should be:  {new}",
                self.path, self.source
            );
        }
        assert!(
            old == new,
            "{} ends too early or too late; run `make header`",
            self.path
        );
    }
}

/// With KDREG_WRITE_HEADER set this writes the headers instead of comparing them.
#[test]
fn is_current() {
    for header in HEADERS {
        if std::env::var_os("KDREG_WRITE_HEADER").is_some() {
            fs::create_dir_all(header.path().parent().unwrap()).unwrap();
            fs::write(header.path(), header.generated()).unwrap();
        } else {
            header.compare();
        }
    }
}

/// The functions that all headers declare.
fn all_functions() -> Vec<(String, bool)> {
    HEADERS
        .iter()
        .flat_map(|header| functions(&header.committed()))
        .collect()
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
    let functions = all_functions();
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

/// A program compares the header's version with the library's.
#[test]
fn has_the_version_of_the_package() {
    let header = HEADERS[0].committed();
    for (part, value) in [
        ("MAJOR", env!("CARGO_PKG_VERSION_MAJOR")),
        ("MINOR", env!("CARGO_PKG_VERSION_MINOR")),
        ("PATCH", env!("CARGO_PKG_VERSION_PATCH")),
    ] {
        let line = format!("#define KDREG_VERSION_{part} {value}");
        assert!(
            header.lines().any(|other| other == line),
            "no line \"{line}\": see libkdreg/cbindgen.toml"
        );
    }
}

/// kdreg_valid is inline, so it is no symbol; all others must be linkable.
#[test]
fn declares_what_the_version_script_exports() {
    let declared: BTreeSet<_> = all_functions()
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
        "left: the headers in include/, right: kdreg.map"
    );
}
