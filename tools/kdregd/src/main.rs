// SPDX-License-Identifier: MIT OR Apache-2.0
//! kdregd: loads libkdreg's BPF programs, hands each client the log of its memory,
//! and gets out of the way.

mod alone;
mod ask;
mod check;
mod kernel;
#[cfg(test)]
mod layout;
#[cfg(test)]
mod model;
mod options;
mod others;
mod proof;
mod selftest;
mod serve;
mod server;

use options::{Action, Options};
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("kdregd: {error:#} (see kdregd --help)");
            return ExitCode::from(2);
        }
    };
    let done = match options.action {
        Action::Serve => serve::serve(&options),
        Action::Check => serve::check(&options),
        Action::Status => ask::status(&options.socket).map(|text| {
            // Whoever reads it may have had enough.
            let _ = writeln!(std::io::stdout(), "{text}");
            0
        }),
        Action::Uninstall => serve::uninstall(&options),
        Action::Trial(mode) => selftest::child::run(mode),
        Action::Help => {
            print!("{}", options::USAGE);
            Ok(0)
        }
        Action::Version => {
            println!("kdregd {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
    };
    match done {
        Ok(status) => ExitCode::from(status as u8),
        Err(error) => {
            eprintln!("kdregd: {error:#}");
            ExitCode::FAILURE
        }
    }
}
