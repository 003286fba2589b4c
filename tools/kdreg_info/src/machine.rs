// SPDX-License-Identifier: MIT OR Apache-2.0
//! What libkdreg can do on this machine.

use crate::output::{line, quoted};
use kdreg::log;
use kdreg::monitor::bpf::status;
use kdreg::monitor::{self, BACKEND_VARIABLE, Capabilities, Kind, Monitor, Options, Probe};
use std::fmt::Write as _;

/// An environment variable the library reads.
struct Variable {
    name: &'static str,
    values: &'static str,
    meaning: &'static str,
}

const VARIABLES: &[Variable] = &[
    Variable {
        name: BACKEND_VARIABLE,
        values: "auto, kernel, bpf, userfaultfd, none",
        meaning: "the backend to use, whatever the program asks for; auto takes the strongest \
                  that works",
    },
    Variable {
        name: "KDREG_BPF_SOCKET",
        values: "a path",
        meaning: "where kdregd listens; /run/kdreg/kdregd.sock when unset",
    },
    Variable {
        name: "KDREG_BPF_LOG_ENTRIES",
        values: "a number from 64 to 1048576",
        meaning: "how many changes kdregd's log keeps for this process; as kdregd decides when \
                  unset",
    },
    Variable {
        name: "KDREG_BPF_TIMEOUT",
        values: "seconds, from 1 to 3600",
        meaning: "how long a process that begins waits for kdregd; 2 when unset",
    },
    Variable {
        name: log::VARIABLE,
        values: "off, error, warn, info, debug",
        meaning: "how much is said on standard error; warn when unset",
    },
];

pub fn version(text: &mut String) {
    line!(text, "libkdreg {}", kdreg::VERSION);
}

fn probes() -> [Probe; Kind::ALL.len()] {
    Kind::ALL.map(monitor::probe)
}

/// The backend that `kdreg_open` with the defaults would give; whether there
/// is one.
pub fn selected(text: &mut String) -> bool {
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

pub fn backends(text: &mut String) {
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

/// What kdregd says of itself; whether it says anything.
pub fn daemon(text: &mut String) -> bool {
    match status::ask() {
        Ok(said) => {
            line!(text, "{}", said.trim_end());
            true
        }
        Err(why) => {
            line!(text, "kdregd does not answer: {why}");
            false
        }
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

pub fn capabilities(text: &mut String) {
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

pub fn environment(text: &mut String) {
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

pub fn json(text: &mut String) {
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
         \"kdregd\": {},\n  \"environment\": {{\n{}\n  }}\n}}",
        quoted(kdreg::VERSION),
        backends.join(",\n"),
        status::ask().map_or("null".to_owned(), |said| said.trim().to_owned()),
        variables.join(",\n")
    );
}
