// SPDX-License-Identifier: MIT OR Apache-2.0
//! kdreg_info: what libkdreg can do on this machine, in the manner of fi_info,
//! ucx_info and ompi_info; and what it is doing in a running process.

mod json;
mod machine;
mod process;
mod report;
mod watch;

use std::ffi::OsString;
use std::io::{self, Write as _};
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

/// Appends a line to a text; that cannot fail.
#[macro_export]
macro_rules! line {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}

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
    let arguments = match parse(std::env::args_os().skip(1)) {
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

fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut parsed = Arguments::default();
    let mut rest = arguments.map(|argument| argument.to_string_lossy().into_owned());
    while let Some(argument) = rest.next() {
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        let topic = match option {
            "-p" | "--pid" => {
                let pid = value
                    .or_else(|| rest.next())
                    .ok_or("--pid takes a process id")?;
                let number = pid.parse().ok().filter(|&number| number > 0);
                parsed.pid = Some(number.ok_or(format!("'{pid}' is no process id"))?);
                continue;
            }
            "-w" | "--watch" => {
                let seconds = value.map_or(Ok(1.0), |text| {
                    text.parse()
                        .ok()
                        .filter(|seconds| (0.1..=86400.0).contains(seconds))
                        .ok_or(format!("'{text}' is not between 0.1 and 86400 seconds"))
                })?;
                parsed.watch = Some(Duration::from_secs_f64(seconds));
                continue;
            }
            _ if value.is_some() => return Err(format!("unknown option '{argument}'")),
            "-j" | "--json" => {
                parsed.json = true;
                continue;
            }
            "-b" | "--backends" => 'b',
            "-c" | "--capabilities" => 'c',
            "-e" | "--environment" => 'e',
            "-s" | "--selected" => 's',
            "-d" | "--kdregd" => 'd',
            "-v" | "--version" => 'v',
            "-h" | "--help" => 'h',
            other => return Err(format!("unknown option '{other}'")),
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
    match print(&text) {
        Ok(()) if good => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("kdreg_info: {what}");
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. A reader that went away, as `| head` does, is no
/// error.
fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write: {error}"))
        }
        _ => Ok(()),
    }
}
