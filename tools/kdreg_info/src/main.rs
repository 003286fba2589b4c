// SPDX-License-Identifier: MIT OR Apache-2.0
//! kdreg_info: what libkdreg can do on this machine, in the manner of fi_info,
//! ucx_info and ompi_info; and what it is doing in a running process.

mod machine;
mod output;
mod process;
mod report;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
Usage: kdreg_info [OPTION]
       kdreg_info --pid PID [--json] [--watch[=SECONDS]]
Shows what libkdreg can do on this machine, or what it is doing in a process.

  -b, --backends      which backends work, and why the others do not
  -c, --capabilities  what each backend sees, as a table
  -e, --environment   the environment variables and their current values
  -s, --selected      the backend a program would get now
  -d, --kdregd        what kdregd says of itself, as JSON
  -j, --json          everything, as JSON
  -v, --version       the version
  -h, --help          this text

  -p, --pid PID       a process's monitors and caches: regions, pinned bytes,
                      hit rate, invalidations by reason, largest and hottest
                      entries. For the same user and root.
  -j, --json          the same as JSON, one object a line when watching
  -w, --watch[=S]     again every S seconds (1), with rates, until the process
                      ends or control-C

Without an option, everything but JSON about the machine. Exit status: 0; 1 if
the backend that the environment asks for does not work here, or the process
or kdregd cannot be asked; 2 for a bad option.
";

/// What was asked for.
#[derive(Default)]
struct Arguments {
    /// About the machine: the option's letter.
    topic: Option<char>,
    json: bool,
    pid: Option<u32>,
    watch: Option<Duration>,
}

fn main() -> ExitCode {
    let arguments = match parse(lexopt::Parser::from_env()) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("kdreg_info: {what}; see kdreg_info --help");
            return ExitCode::from(2);
        }
    };
    match arguments.pid {
        Some(pid) => match watch::run(pid, arguments.json, arguments.watch) {
            Ok(()) => ExitCode::SUCCESS,
            Err(what) => {
                eprintln!("kdreg_info: {what}");
                ExitCode::FAILURE
            }
        },
        None => about_the_machine(&arguments),
    }
}

fn parse(mut arguments: lexopt::Parser) -> Result<Arguments, lexopt::Error> {
    use lexopt::prelude::*;

    let mut parsed = Arguments::default();
    while let Some(argument) = arguments.next()? {
        let topic = match argument {
            Short('p') | Long("pid") => {
                let pid = arguments.value()?.string()?;
                let number = pid.parse().ok().filter(|&number| number > 0);
                parsed.pid = Some(number.ok_or(format!("'{pid}' is no process id"))?);
                continue;
            }
            Short('w') | Long("watch") => {
                let seconds = match arguments.optional_value() {
                    None => 1.0,
                    Some(value) => {
                        let text = value.string()?;
                        let seconds = text.parse().ok();
                        seconds
                            .filter(|seconds| (0.1..=86400.0).contains(seconds))
                            .ok_or(format!("'{text}' is not between 0.1 and 86400 seconds"))?
                    }
                };
                parsed.watch = Some(Duration::from_secs_f64(seconds));
                continue;
            }
            Short('j') | Long("json") => {
                parsed.json = true;
                continue;
            }
            Short('b') | Long("backends") => 'b',
            Short('c') | Long("capabilities") => 'c',
            Short('e') | Long("environment") => 'e',
            Short('s') | Long("selected") => 's',
            Short('d') | Long("kdregd") => 'd',
            Short('v') | Long("version") => 'v',
            Short('h') | Long("help") => 'h',
            other => return Err(other.unexpected()),
        };
        if parsed.topic.replace(topic).is_some() {
            return Err("more than one option".into());
        }
    }
    if parsed.topic.is_some() && (parsed.json || parsed.pid.is_some()) {
        return Err("more than one option".into());
    }
    if parsed.watch.is_some() && parsed.pid.is_none() {
        return Err("--watch goes with --pid".into());
    }
    Ok(parsed)
}

fn about_the_machine(arguments: &Arguments) -> ExitCode {
    let mut text = String::new();
    let mut good = true;
    match arguments.topic {
        None if arguments.json => machine::json(&mut text),
        None => {
            machine::version(&mut text);
            text.push('\n');
            good = machine::selected(&mut text);
            text.push('\n');
            machine::backends(&mut text);
            text.push('\n');
            machine::capabilities(&mut text);
            text.push('\n');
            machine::environment(&mut text);
        }
        Some('b') => machine::backends(&mut text),
        Some('c') => machine::capabilities(&mut text),
        Some('e') => machine::environment(&mut text),
        Some('s') => good = machine::selected(&mut text),
        Some('d') => good = machine::daemon(&mut text),
        Some('v') => machine::version(&mut text),
        Some(_) => text.push_str(USAGE),
    }
    match output::print(&text) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("kdreg_info: {what}");
            ExitCode::FAILURE
        }
    }
}
