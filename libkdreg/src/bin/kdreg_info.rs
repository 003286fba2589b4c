// SPDX-License-Identifier: MIT OR Apache-2.0
//! kdreg_info: what libkdreg can do on this machine, in the manner of fi_info,
//! ucx_info and ompi_info.

use kdreg::log;
use kdreg::monitor::{self, BACKEND_VARIABLE, Capabilities, Kind, Monitor, Options, Probe};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: kdreg_info [OPTION]
Shows what libkdreg can do on this machine.

  -b, --backends      which backends work, and why the others do not
  -c, --capabilities  what each backend sees, as a table
  -e, --environment   the environment variables and their current values
  -s, --selected      the backend a program would get now
  -j, --json          everything, as JSON
  -v, --version       the version
  -h, --help          this text

Without an option, everything but JSON. Exit status: 0; 1 if the backend that
the environment asks for does not work here; 2 for a bad option.
";

/// An environment variable the library reads.
struct Variable {
    name: &'static str,
    values: &'static str,
    meaning: &'static str,
}

const VARIABLES: &[Variable] = &[
    Variable {
        name: BACKEND_VARIABLE,
        values: "auto, kernel, userfaultfd, none",
        meaning: "the backend to use, whatever the program asks for; auto takes the strongest \
                  that works",
    },
    Variable {
        name: log::VARIABLE,
        values: "off, error, warn, info, debug",
        meaning: "how much is said on standard error; warn when unset",
    },
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let option = match arguments.as_slice() {
        [] => String::new(),
        [one] => one.to_string_lossy().into_owned(),
        _ => return usage_error("more than one option"),
    };
    let mut text = String::new();
    let good = match option.as_str() {
        "" => {
            version(&mut text);
            text.push('\n');
            let good = selected(&mut text);
            text.push('\n');
            backends(&mut text);
            text.push('\n');
            capabilities(&mut text);
            text.push('\n');
            environment(&mut text);
            good
        }
        "-b" | "--backends" => {
            backends(&mut text);
            true
        }
        "-c" | "--capabilities" => {
            capabilities(&mut text);
            true
        }
        "-e" | "--environment" => {
            environment(&mut text);
            true
        }
        "-s" | "--selected" => selected(&mut text),
        "-j" | "--json" => {
            json(&mut text);
            true
        }
        "-v" | "--version" => {
            version(&mut text);
            true
        }
        "-h" | "--help" => {
            text.push_str(USAGE);
            true
        }
        other => return usage_error(&format!("unknown option '{other}'")),
    };
    // A reader that went away, as `| head` does, is no error.
    if let Err(error) = io::stdout().write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("kdreg_info: cannot write: {error}");
        return ExitCode::FAILURE;
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn usage_error(what: &str) -> ExitCode {
    eprintln!("kdreg_info: {what}; see kdreg_info --help");
    ExitCode::from(2)
}

/// Writing to a String cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}

fn version(text: &mut String) {
    line!(text, "libkdreg {}", kdreg::VERSION);
}

fn probes() -> [Probe; 3] {
    Kind::ALL.map(monitor::probe)
}

/// The backend that `kdreg_open` with the defaults would give; whether there
/// is one.
fn selected(text: &mut String) -> bool {
    match Monitor::open(&Options::default()) {
        Ok(monitor) => {
            line!(text, "Backend in use by default: {}", monitor.kind());
            true
        }
        Err(error) => {
            line!(text, "No backend can be opened: {error}");
            false
        }
    }
}

fn backends(text: &mut String) {
    line!(text, "{:<12} {:<6} ", "Backend", "Works");
    for probe in probes() {
        let works = if probe.error.is_none() { "yes" } else { "no" };
        line!(
            text,
            "{:<12} {works:<6} {}",
            probe.kind.name(),
            probe.reason
        );
    }
}

/// What a capability means, for the table.
fn meaning(name: &str) -> &'static str {
    match name {
        "unmap" => "munmap, MAP_FIXED on top, brk shrink, mremap target",
        "remap" => "mremap: the old range",
        "discard" => "madvise DONTNEED, DONTNEED_LOCKED, FREE, REMOVE",
        "guard" => "madvise GUARD_INSTALL",
        "protect" => "mprotect, pkey_mprotect",
        "file" => "ftruncate, hole punching through a descriptor",
        "sysv" => "shmdt, shmat(SHM_REMAP)",
        "pages" => "UFFDIO_MOVE, remap_file_pages",
        "migrate" => "the kernel's own: migration, reclaim, KSM, collapse",
        "foreign" => "changes made by another process",
        "sync" => "marked by the kernel, no thread in between",
        "strict" => "no window for an address handed to another thread",
        "all-memory" => "any kind of memory, file-backed included",
        "fork-warm" => "a fork invalidates nothing in the parent",
        _ => "",
    }
}

fn capabilities(text: &mut String) {
    let probes = probes();
    let _ = write!(text, "{:<12}", "Sees");
    for probe in &probes {
        let _ = write!(text, " {:<12}", probe.kind.name());
    }
    text.push('\n');
    for (capability, name) in Capabilities::ALL {
        let _ = write!(text, "{name:<12}");
        for probe in &probes {
            let mark = match (&probe.error, probe.capabilities.contains(*capability)) {
                (Some(_), _) => "-",
                (None, true) => "yes",
                (None, false) => "no",
            };
            let _ = write!(text, " {mark:<12}");
        }
        line!(text, " {}", meaning(name));
    }
    line!(
        text,
        "A change that a backend does not see may leave a registration stale."
    );
}

fn environment(text: &mut String) {
    line!(text, "Environment");
    for variable in VARIABLES {
        let value = match std::env::var_os(variable.name) {
            Some(value) => value.to_string_lossy().into_owned(),
            None => "(not set)".to_owned(),
        };
        line!(text, "  {}={value}", variable.name);
        line!(text, "      {}", variable.values);
        line!(text, "      {}", variable.meaning);
    }
}

/// A JSON string.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            control if (control as u32) < 0x20 => {
                let _ = write!(text, "\\u{:04x}", control as u32);
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

fn json(text: &mut String) {
    let default = Monitor::open(&Options::default());
    let default = default.map_or("null".to_owned(), |m| quoted(m.kind().name()));
    let backends: Vec<String> = probes()
        .iter()
        .map(|probe| {
            let sees: Vec<String> = Capabilities::ALL
                .iter()
                .filter(|(capability, _)| probe.capabilities.contains(*capability))
                .map(|(_, name)| quoted(name))
                .collect();
            format!(
                "    {{\"name\": {}, \"works\": {}, \"errno\": {}, \"reason\": {}, \"sees\": [{}]}}",
                quoted(probe.kind.name()),
                probe.error.is_none(),
                probe.error.map_or(0, |error| error.value()),
                quoted(&probe.reason),
                sees.join(", ")
            )
        })
        .collect();
    let variables: Vec<String> = VARIABLES
        .iter()
        .map(|variable| {
            let value = std::env::var_os(variable.name)
                .map_or("null".to_owned(), |value| quoted(&value.to_string_lossy()));
            format!("    {}: {value}", quoted(variable.name))
        })
        .collect();
    line!(
        text,
        "{{\n  \"version\": {},\n  \"default\": {default},\n  \"backends\": [\n{}\n  ],\n  \
         \"environment\": {{\n{}\n  }}\n}}",
        quoted(kdreg::VERSION),
        backends.join(",\n"),
        variables.join(",\n")
    );
}
