// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole run: each scenario in a process of its own, then the reports.

use crate::options::Options;
use crate::report::{self, Report};
use crate::row::Row;
use crate::scenarios::{self, Scenario};
use crate::subjects::Field;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Instant;

/// `false` when a scenario failed; the reports are written all the same.
pub fn run(options: &Options) -> Result<bool, String> {
    if options.list {
        let mut to = std::io::stdout();
        for scenario in &scenarios::ALL {
            // A reader that has seen enough is no error.
            let _ = writeln!(to, "{:14} {}", scenario.name, scenario.title);
        }
        return Ok(true);
    }
    if let Some(path) = &options.check_page {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let faults = report::check::page(&text);
        for fault in &faults {
            eprintln!("{fault}");
        }
        return Ok(faults.is_empty());
    }
    let chosen = choose(options)?;
    std::fs::create_dir_all(&options.out)
        .map_err(|e| format!("cannot make {}: {e}", options.out.display()))?;
    let field = Field::survey(options);
    eprintln!("measured here:");
    for subject in &field.subjects {
        eprintln!("  {}", subject.name);
    }
    for (name, why) in &field.absent {
        eprintln!("  not {name}: {why}");
    }
    let start = Instant::now();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (number, scenario) in chosen.iter().enumerate() {
        if start.elapsed() > options.budget {
            eprintln!("left out, the time is up: {}", scenario.name);
            continue;
        }
        let seconds = start.elapsed().as_secs();
        eprintln!(
            "\r[{}/{}] {} ({seconds} s so far)",
            number + 1,
            chosen.len(),
            scenario.title
        );
        if let Err(why) = one(options, scenario, &mut rows) {
            eprintln!("\n{} failed: {why}", scenario.name);
            failed.push((scenario.name.to_string(), why));
        }
    }
    eprintln!();
    let report = Report {
        rows,
        absent: field.absent,
        failed,
        machine: report::machine(&field.libraries),
        effort: options.effort.name(),
        seconds: start.elapsed().as_secs(),
    };
    println!("{}", report::table::text(&report));
    for (file, text) in [
        ("bench.csv", report::csv::text(&report)),
        ("bench.html", report::html::text(&report)),
        ("bench.md", report::table::markdown(&report)),
    ] {
        let path = options.out.join(file);
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(report.failed.is_empty())
}

fn choose(options: &Options) -> Result<Vec<&'static Scenario>, String> {
    if options.scenarios.is_empty() {
        return Ok(scenarios::ALL.iter().collect());
    }
    options
        .scenarios
        .iter()
        .map(|name| {
            let found = scenarios::ALL.iter().find(|s| s.name == name);
            found.ok_or(format!("no scenario '{name}': --list names them"))
        })
        .collect()
}

/// Runs a scenario and collects its rows, those before a failure included.
fn one(options: &Options, scenario: &Scenario, rows: &mut Vec<Row>) -> Result<(), String> {
    let mut child = options
        .command_for(&["scenario", scenario.name])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    let mut strange = None;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|e| e.to_string())?;
            match Row::from_csv(&line) {
                Some(row) => rows.push(row),
                // A library's own words.
                None => strange = Some(line),
            }
        }
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    if let Some(line) = strange {
        eprintln!("\n  (somebody said on standard output: {line})");
    }
    if status.success() {
        Ok(())
    } else {
        Err(format!("its process ended with {status}"))
    }
}
