// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process shown once, or again and again.

use crate::output::print;
use crate::process;
use crate::report::Report;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Clears the terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows process `pid`; with `every`, until it ends.
pub fn run(pid: u32, json: bool, every: Option<Duration>) -> Result<(), String> {
    let mut before: Option<(Instant, Report)> = None;
    loop {
        let seen = match process::look(pid) {
            Err(what) if before.is_some() => {
                eprintln!("kdreg_info: {what}");
                return Ok(());
            }
            other => other?,
        };
        let now = Instant::now();
        for note in &seen.notes {
            eprintln!("kdreg_info: {note}");
        }
        let report = Report::of(pid, &seen);
        if report.is_empty() && every.is_none() {
            return Err("nothing to show".into());
        }
        let rates = before.as_ref().map(|(then, report)| (now - *then, report));
        let mut text = String::new();
        if json {
            report.json(&mut text, every.is_some());
        } else {
            if every.is_some() && std::io::stdout().is_terminal() {
                text.push_str(CLEAR);
            }
            report.table(&mut text, rates);
        }
        print(&text)?;
        let Some(every) = every else { return Ok(()) };
        before = Some((now, report));
        std::thread::sleep(every);
    }
}
