// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the user: what was chosen, what was refused and why.
//!
//! `KDREG_LOG=error|warn|info|debug` (or `off`) sets the level, `warn` when
//! unset; messages go to standard error unless a callback was installed.
//! The notification handler never logs.

use crate::cancellation::HeldOff;
use crate::environment;
use crate::lock::RwLock;
use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

/// How much a message matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Level {
    /// Something failed that the caller asked for.
    Error = 1,
    /// The library carries on with less than it could offer.
    Warn = 2,
    /// Decisions: which backend, which limits.
    Info = 3,
    /// Every registration and release.
    Debug = 4,
}

impl Level {
    /// The level that a C caller names by its number; `None` when there is no such level.
    pub fn from_number(number: i32) -> Option<Level> {
        [Level::Error, Level::Warn, Level::Info, Level::Debug]
            .into_iter()
            .find(|level| *level as i32 == number)
    }

    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
        }
    }
}

/// The environment variable that sets the level.
pub const VARIABLE: &str = "KDREG_LOG";

/// Receives messages. Called by the thread that has something to say, with no
/// lock of the library held; it may call the library.
pub type Sink = std::sync::Arc<dyn Fn(Level, &str) + Send + Sync>;

/// Where messages go; `None` is standard error. Protects the pointer only: it
/// is cloned out before the sink is called.
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// The level in force; 0 is off, `UNSET` not yet read from the environment.
static LEVEL: AtomicU8 = AtomicU8::new(UNSET);
const UNSET: u8 = u8::MAX;

fn level_from_environment() -> u8 {
    let Some(value) = environment::variable(VARIABLE) else {
        return Level::Warn as u8;
    };
    match &*value.to_string_lossy() {
        "off" | "none" | "0" => 0,
        "error" | "1" => Level::Error as u8,
        "warn" | "warning" | "2" | "" => Level::Warn as u8,
        "info" | "3" => Level::Info as u8,
        "debug" | "4" => Level::Debug as u8,
        other => {
            let _ = writeln!(
                std::io::stderr(),
                "kdreg: warn: {VARIABLE}={other} is not off, error, warn, info or debug; using warn"
            );
            Level::Warn as u8
        }
    }
}

/// Sets where messages go and how many there are.
pub fn set(sink: Option<Sink>, level: Level) {
    *SINK.write() = sink;
    // Relaxed: the level is advice; nothing is published through it.
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether messages of `level` are wanted, for callers whose message is
/// costly to build.
#[inline]
pub fn wanted(level: Level) -> bool {
    let current = LEVEL.load(Ordering::Relaxed);
    level as u8 <= current && (current != UNSET || wanted_at_first(level))
}

/// As `wanted`, before the environment was asked.
#[cold]
fn wanted_at_first(level: Level) -> bool {
    let current = level_from_environment();
    LEVEL.store(current, Ordering::Relaxed);
    level as u8 <= current
}

/// Says `message`, if its level is wanted.
#[inline]
pub(crate) fn say(level: Level, message: std::fmt::Arguments<'_>) {
    if wanted(level) {
        say_now(level, message);
    }
}

#[cold]
fn say_now(level: Level, message: std::fmt::Arguments<'_>) {
    let _held_off = HeldOff::new();
    let sink = SINK.read().clone();
    match sink {
        Some(sink) => sink(level, &message.to_string()),
        // A closed standard error is no reason to fail.
        None => drop(writeln!(
            std::io::stderr(),
            "kdreg: {}: {message}",
            level.name()
        )),
    }
}
