// SPDX-License-Identifier: MIT OR Apache-2.0
//! The floors: what a hit cannot do without, and nothing else.
//!
//! None is a cache. "Perfect hash" is told where a key's entry is, looks
//! whether it is the one, and loads its state word from another line: the
//! cache misses that any index over as many entries must take.

use super::{Cache, Kind, Setup, Subject};
use crate::layout::Key;
use std::sync::atomic::{AtomicU64, Ordering};

pub const PLAIN: &str = "floor: plain load and store, twice";
pub const ATOMICS: &str = "floor: two atomics on a warm line";
pub const HASH_PLAIN: &str = "floor: perfect hash, plain counts";
pub const HASH_ATOMICS: &str = "floor: perfect hash, two atomics";
pub const SYSTEM_CALL: &str = "floor: one system call";
pub const SHARED: &str = "floor: bare shared atomic counter";

#[repr(align(64))]
#[derive(Default)]
struct Line(AtomicU64);

/// Adds without a locked instruction, as a counter of one thread's can be.
/// The Relaxed load and store are a plain load and store, kept by the compiler.
#[inline(always)]
fn plain_add(count: &AtomicU64, by: u64) {
    count.store(
        count.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

#[inline(always)]
fn atomic_add(count: &AtomicU64, by: u64) {
    // The orderings of taking and dropping a reference.
    count.fetch_add(by, Ordering::AcqRel);
}

/// How a count is kept.
#[derive(Clone, Copy)]
enum Add {
    Plain,
    Atomic,
}

/// A count on a line of the calling thread's own.
struct OwnLine(Add);

/// A count that every thread uses.
struct SharedLine(Line);

/// A system call that does next to nothing.
struct SystemCall;

/// What a perfect hash of the keys would lead to, as large as what it stands for.
struct PerfectHash {
    entries: Vec<Entry>,
    words: Vec<AtomicU64>,
    add: Add,
}

#[repr(C, align(64))]
#[derive(Default)]
struct Entry {
    addr: AtomicU64,
    count: AtomicU64,
}

pub fn subjects() -> Vec<Subject> {
    let hash = |setup: Setup, add| PerfectHash {
        entries: (0..setup.max_entries).map(|_| Entry::default()).collect(),
        words: (0..setup.max_entries).map(|_| AtomicU64::new(1)).collect(),
        add,
    };
    vec![
        Subject::new(PLAIN, Kind::Floor, |_| Ok(OwnLine(Add::Plain))),
        Subject::new(ATOMICS, Kind::Floor, |_| Ok(OwnLine(Add::Atomic))),
        Subject::new(HASH_PLAIN, Kind::Floor, move |setup| {
            Ok(hash(setup, Add::Plain))
        }),
        Subject::new(HASH_ATOMICS, Kind::Floor, move |setup| {
            Ok(hash(setup, Add::Atomic))
        }),
        Subject::new(SYSTEM_CALL, Kind::Floor, |_| Ok(SystemCall)),
        Subject::new(SHARED, Kind::Floor, |_| Ok(SharedLine(Line::default()))),
    ]
}

/// Called with the function as a constant, so that the loop is made for it.
#[inline(always)]
fn own_line(keys: &[Key], add: impl Fn(&AtomicU64, u64)) {
    let line = Line::default();
    for key in keys {
        add(&line.0, 1);
        std::hint::black_box(key);
        add(&line.0, 1_u64.wrapping_neg());
    }
}

impl Cache for OwnLine {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        match self.0 {
            Add::Plain => own_line(keys, plain_add),
            Add::Atomic => own_line(keys, atomic_add),
        }
        Ok(())
    }
}

impl Cache for SharedLine {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        for key in keys {
            atomic_add(&self.0.0, 1);
            std::hint::black_box(key);
            atomic_add(&self.0.0, 1_u64.wrapping_neg());
        }
        Ok(())
    }
}

impl Cache for SystemCall {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        for key in keys {
            std::hint::black_box(key);
            // SAFETY: takes nothing and cannot fail.
            unsafe { libc::syscall(libc::SYS_getppid) };
        }
        Ok(())
    }
}

impl PerfectHash {
    #[inline(always)]
    fn run(&self, keys: &[Key], add: impl Fn(&AtomicU64, u64)) -> Result<(), String> {
        for key in keys {
            let index = key.index as usize;
            let entry = &self.entries[index];
            let addr = key.addr as u64;
            if entry.addr.load(Ordering::Relaxed) != addr {
                // The first time.
                entry.addr.store(addr, Ordering::Relaxed);
            }
            add(&entry.count, 1);
            if self.words[index].load(Ordering::Acquire) != 1 {
                return Err("a state word changed by itself".into());
            }
            add(&entry.count, 1_u64.wrapping_neg());
        }
        Ok(())
    }
}

impl Cache for PerfectHash {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        match self.add {
            Add::Plain => self.run(keys, plain_add),
            Add::Atomic => self.run(keys, atomic_add),
        }
    }
}
