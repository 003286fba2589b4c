// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to the user: what was chosen, what was refused and why.
//!
//! `KDREG_LOG=error|warn|info|debug` (or `off`) sets the level, `warn` when
//! unset; messages go to standard error unless a callback was installed.
//! The notification handler never logs.
//!
//! No lock and no allocation: whoever is out of memory can say so, and a child
//! can say what it likes, whatever its parent was about to say when it forked.

mod line;

use crate::cancellation::HeldOff;
use crate::environment;
use crate::errno::Errno;
use crate::memory;
use crate::specific::Scoped;
use line::Line;
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicUsize, Ordering};

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

/// A function of C's that takes messages, and how it is called.
#[derive(Clone, Copy)]
pub(crate) struct Function {
    /// Calls `function` with `ctx`.
    pub call: fn(Function, Level, &CStr),
    pub function: usize,
    pub ctx: usize,
}

/// Who receives messages.
enum Receiver {
    Sink(Sink),
    Function(Function),
}

impl Receiver {
    fn is(&self, other: &Receiver) -> bool {
        match (self, other) {
            (Receiver::Sink(one), Receiver::Sink(other)) => std::sync::Arc::ptr_eq(one, other),
            (Receiver::Function(one), Receiver::Function(other)) => {
                one.function == other.function && one.ctx == other.ctx
            }
            _ => false,
        }
    }
}

/// A receiver that was set once. It stays for good: another thread may be about
/// to call it, and no lock tells, since a child forked meanwhile would inherit
/// that. Who is set again has the place from before.
struct Destination {
    receiver: Receiver,
    /// Up to which level it gets messages besides the one that was set; 0: none.
    /// SeqCst where the level in force is made of it (`put_in_force`).
    added: AtomicU8,
    next: *const Destination,
}

/// Where messages go; null is standard error. Release when set, Acquire when
/// used: publishes the destination.
static CURRENT: AtomicPtr<Destination> = AtomicPtr::new(std::ptr::null_mut());

/// All there ever were. Release and Acquire as above.
static ALL: AtomicPtr<Destination> = AtomicPtr::new(std::ptr::null_mut());

/// Up to which level there is a message for whoever was set; 0 is off, `UNSET` not
/// yet read from the environment.
static SET: AtomicU8 = AtomicU8::new(UNSET);

/// The level in force: the highest of that and of those of who were added.
static LEVEL: AtomicU8 = AtomicU8::new(UNSET);
const UNSET: u8 = u8::MAX;

fn level_from_environment() -> u8 {
    let Some(value) = environment::variable(c"KDREG_LOG") else {
        return Level::Warn as u8;
    };
    match value.as_str() {
        "off" | "none" | "0" => 0,
        "error" | "1" => Level::Error as u8,
        "warn" | "warning" | "2" | "" => Level::Warn as u8,
        "info" | "3" => Level::Info as u8,
        "debug" | "4" => Level::Debug as u8,
        other => {
            write(
                Level::Warn,
                format_args!(
                    "{VARIABLE}={other} is not off, error, warn, info or debug; using warn"
                ),
            );
            Level::Warn as u8
        }
    }
}

/// The place of a receiver, its former one if it has had one.
fn place(receiver: Receiver) -> Result<*mut Destination, Errno> {
    let mut first = ALL.load(Ordering::Acquire);
    let mut next = first;
    // SAFETY: destinations stay for good, and do not change once published.
    while let Some(destination) = unsafe { next.as_ref() } {
        if destination.receiver.is(&receiver) {
            return Ok(next);
        }
        next = destination.next.cast_mut();
    }
    let fresh = Box::into_raw(memory::try_box(Destination {
        receiver,
        added: AtomicU8::new(0),
        next: first,
    })?);
    while let Err(now) = ALL.compare_exchange(first, fresh, Ordering::AcqRel, Ordering::Acquire) {
        first = now;
        // SAFETY: nobody else has it yet.
        unsafe { (*fresh).next = first };
    }
    Ok(fresh)
}

/// Sets where messages go and how many there are. A sink is kept for good.
///
/// # Errors
/// `ENOMEM`, and nothing changes.
pub fn set(sink: Option<Sink>, level: Level) -> Result<(), Errno> {
    set_receiver(sink.map(Receiver::Sink), level)
}

/// As [`set`], for C.
pub(crate) fn set_function(function: Option<Function>, level: Level) -> Result<(), Errno> {
    set_receiver(function.map(Receiver::Function), level)
}

fn set_receiver(receiver: Option<Receiver>, level: Level) -> Result<(), Errno> {
    let place = receiver.map_or(Ok(std::ptr::null_mut()), place)?;
    CURRENT.store(place, Ordering::Release);
    SET.store(level as u8, Ordering::SeqCst);
    put_in_force();
    Ok(())
}

/// Has a function of C's get messages up to `level` besides whoever gets them
/// already; again: another level.
///
/// # Errors
/// `ENOMEM`, and nothing changes.
pub(crate) fn add_function(function: Function, level: Level) -> Result<(), Errno> {
    let place = place(Receiver::Function(function))?;
    // SAFETY: destinations stay for good.
    unsafe { &*place }
        .added
        .store(level as u8, Ordering::SeqCst);
    put_in_force();
    Ok(())
}

/// Ends that; `false`: it was not so.
pub(crate) fn remove_function(function: Function) -> bool {
    let sought = Receiver::Function(function);
    let removed = destinations()
        .find(|destination| destination.receiver.is(&sought))
        .is_some_and(|destination| destination.added.swap(0, Ordering::SeqCst) != 0);
    put_in_force();
    removed
}

/// All that there are.
fn destinations() -> impl Iterator<Item = &'static Destination> {
    let mut next = ALL.load(Ordering::Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: destinations stay for good, and do not change once published
        // but for their level.
        let destination = unsafe { next.as_ref() }?;
        next = destination.next;
        Some(destination)
    })
}

/// The level of whoever was set.
fn set_level() -> u8 {
    match SET.load(Ordering::SeqCst) {
        UNSET => {
            let level = level_from_environment();
            // Another thread may have set one meanwhile: that one stands.
            match SET.compare_exchange(UNSET, level, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => level,
                Err(now) => now,
            }
        }
        level => level,
    }
}

/// The level in force follows from the others. Once more until they stand
/// still, so that of two threads which change them the last one sees both.
fn put_in_force() -> u8 {
    let highest = || {
        let added = destinations().map(|other| other.added.load(Ordering::SeqCst));
        added.max().unwrap_or(0).max(set_level())
    };
    let mut level = highest();
    loop {
        // SeqCst, with the loads above: who changed a level and stored what was
        // in force before sees it here, or the other sees that level.
        LEVEL.store(level, Ordering::SeqCst);
        match highest() {
            same if same == level => return level,
            other => level = other,
        }
    }
}

/// Whether messages of `level` are enabled, for callers whose message is
/// costly to build.
#[inline]
pub fn enabled(level: Level) -> bool {
    let current = LEVEL.load(Ordering::Relaxed);
    level as u8 <= current && (current != UNSET || enabled_at_first(level))
}

/// As `enabled`, before the environment was asked.
#[cold]
fn enabled_at_first(level: Level) -> bool {
    level as u8 <= put_in_force()
}

/// Says `message`, if its level is enabled.
#[inline]
pub(crate) fn say(level: Level, message: std::fmt::Arguments<'_>) {
    if enabled(level) {
        say_now(level, message);
    }
}

#[cold]
fn say_now(level: Level, message: std::fmt::Arguments<'_>) {
    let _held_off = HeldOff::new();
    let wants = |wanted: u8| wanted != UNSET && level as u8 <= wanted;
    let current = CURRENT.load(Ordering::Acquire).cast_const();
    if wants(set_level()) {
        // SAFETY: destinations stay for good.
        match unsafe { current.as_ref() } {
            Some(destination) => destination.hand(level, message),
            None => write(level, message),
        }
    }
    for destination in destinations() {
        // Who was set and added gets a message once.
        let had_it = std::ptr::eq(destination, current) && wants(set_level());
        if wants(destination.added.load(Ordering::Relaxed)) && !had_it {
            destination.hand(level, message);
        }
    }
}

/// How many receivers the calling thread is inside of.
static INSIDE: Scoped = Scoped::new();

/// How many receivers are being called by threads that have no place to note it in, as
/// many others have none with the C library. Relaxed: who must see itself counted is the
/// same thread.
static UNNOTED: AtomicUsize = AtomicUsize::new(0);

/// Whether the calling thread is inside a receiver, which may have been called in
/// the middle of anything that others wait for.
pub(crate) fn is_inside() -> bool {
    INSIDE.get() > 0
}

/// The same where it may also be one that could not be noted.
pub(crate) fn may_be_inside() -> bool {
    is_inside() || UNNOTED.load(Ordering::Relaxed) > 0
}

/// The calling thread is inside a receiver while this lives.
struct Inside {
    /// How many it was inside of before; `None`: it could not be noted.
    before: Option<usize>,
}

impl Inside {
    fn new() -> Inside {
        let before = INSIDE.get();
        let noted = INSIDE.set(before + 1);
        if !noted {
            UNNOTED.fetch_add(1, Ordering::Relaxed);
        }
        Inside {
            before: noted.then_some(before),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        match self.before {
            Some(before) => _ = INSIDE.set(before),
            None => _ = UNNOTED.fetch_sub(1, Ordering::Relaxed),
        }
    }
}

impl Destination {
    fn hand(&self, level: Level, message: std::fmt::Arguments<'_>) {
        let line = Line::of(message);
        let _inside = Inside::new();
        match &self.receiver {
            Receiver::Sink(sink) => sink(level, line.as_c_str().to_str().unwrap_or_default()),
            Receiver::Function(function) => (function.call)(*function, level, line.as_c_str()),
        }
    }
}

/// Writes a message to standard error.
fn write(level: Level, message: std::fmt::Arguments<'_>) {
    Line::of(format_args!("kdreg: {}: {message}", level.name())).write_to_standard_error();
}
