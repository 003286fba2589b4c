// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is counted of each registration that a program asks for.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted here; what the caches count is theirs. Relaxed throughout: numbers
/// for people.
pub struct Count(AtomicU64);

impl Count {
    const fn new() -> Count {
        Count(AtomicU64::new(0))
    }

    pub fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

pub static ASKED: Count = Count::new();
/// Of those asked for, how many got none.
pub static FAILED: Count = Count::new();
/// What was found, and not taken, as somebody had it already.
pub static HELD: Count = Count::new();
/// Calls of `ibv_rereg_mr`.
pub static REREGISTERED: Count = Count::new();

/// Why libibverbs made a registration, and no cache.
pub static DISABLED: Count = Count::new();
pub static REMOTE: Count = Count::new();
pub static KIND: Count = Count::new();
pub static OTHER: Count = Count::new();
pub static IN_USE: Count = Count::new();
pub static UNWATCHED: Count = Count::new();
pub static UNCACHED: Count = Count::new();

/// Why a registration did not stay when its user gave it back.
pub static POSTED: Count = Count::new();
pub static UNSEEN: Count = Count::new();
