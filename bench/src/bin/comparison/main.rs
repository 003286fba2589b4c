// SPDX-License-Identifier: MIT OR Apache-2.0
//! Draws the picture of README.md, docs/comparison.svg, from the tables of docs/:
//! what a hit costs, and how many transfers arrived wrong, beside what people
//! use today.
//!
//!     comparison DOCS OUT.svg

mod chart;
mod tables;

use chart::{Bar, Panel};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Rows of the table of hits, by the names they have there, and here.
const HITS: [(&str, &str); 6] = [
    ("libkdreg: kernel", "libkdreg, kernel module"),
    (
        "libkdreg: userfaultfd relaxed",
        "libkdreg, userfaultfd relaxed",
    ),
    (
        "libkdreg: userfaultfd strict",
        "libkdreg, userfaultfd strict",
    ),
    ("libfabric: fi_mr_reg, verbs", "libfabric, fi_mr_reg"),
    ("UCX: ucp_mem_map", "UCX, ucp_mem_map"),
    (
        "textbook: mutex, BTreeMap, list",
        "a textbook cache, no monitor",
    ),
];

/// Rows of the two outputs that count transfers.
const TRANSFERS: [(&str, &str); 6] = [
    ("preload, kernel", "libkdreg, kernel module"),
    ("preload, userfaultfd", "libkdreg, userfaultfd"),
    ("libfabric's userfaultfd", "libfabric's userfaultfd monitor"),
    ("libfabric's memhooks", "libfabric's memhooks monitor"),
    ("libfabric's default", "libfabric's default monitor"),
    (
        "Open MPI's own (default)",
        "Open MPI's monitor over libfabric",
    ),
];

fn panels(docs: &Path) -> Result<[Panel; 2], String> {
    let read = |name: &str| {
        let path = docs.join(name);
        fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (performance, fabric) = (read("performance.md")?, read("fabric.md")?);
    let table = "hit: packed, instructions, by regions:";
    let hits = HITS.map(|(row, label)| {
        let value = tables::last_cell(&performance, table, row)?;
        Ok(Bar::new(label, value, format!("{value}")))
    });
    let transfers = TRANSFERS.map(|(row, label)| {
        let (corrupted, of) = tables::corrupted(&fabric, row)?;
        let share = 100.0 * corrupted as f64 / of as f64;
        Ok(Bar::new(label, share, format!("{corrupted} of {of}")))
    });
    let whole = |bars: [Result<Bar, String>; 6]| bars.into_iter().collect::<Result<Vec<_>, _>>();
    Ok([
        Panel {
            title: "A lookup that finds, and giving it back: instructions",
            bars: whole(hits)?,
        },
        Panel {
            title: "RMA and MPI while memory is remapped: transfers that arrived wrong",
            bars: whole(transfers)?,
        },
    ])
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [docs, out] = &arguments[..] else {
        eprintln!("usage: comparison DOCS OUT.svg");
        return ExitCode::from(2);
    };
    let done = panels(Path::new(docs))
        .and_then(|panels| chart::draw(&panels))
        .and_then(|svg| fs::write(out, svg).map_err(|error| error.to_string()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("comparison: {why}");
            ExitCode::FAILURE
        }
    }
}
