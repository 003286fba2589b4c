// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg measured beside a textbook cache, its floors, and the caches people
//! use today. `make bench` runs it; docs/performance.md says what the numbers mean.

mod layout;
mod measure;
mod options;
mod report;
mod row;
mod run;
mod scenarios;
mod subjects;

use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.part {
        Some(part) => scenarios::run_part(&options, part).map(|()| true),
        None => run::run(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("kdreg-bench: {why}");
            ExitCode::from(2)
        }
    }
}
