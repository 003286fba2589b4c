// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three maps of a grant, looked over before they are believed.

use super::abi::{self, Grant, LogHeader};
use super::mapping::{Mapping, Use};
use crate::errno::Errno;
use crate::monitor::change_log::{Entry, Log};
use crate::monitor::refusal::Refusal;
use crate::range::page_size;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The longest ring that is mapped.
const RING_MAX: u64 = 1 << 20;

/// Log and guard, mapped.
pub(super) struct Maps {
    log: Mapping,
    guard: Mapping,
    capacity: u32,
}

impl Maps {
    /// Maps what was granted.
    pub fn new(grant: &Grant, log: BorrowedFd<'_>, guard: BorrowedFd<'_>) -> Result<Maps, Refusal> {
        check(grant)?;
        let map = |fd, length, what| {
            Mapping::new(fd, 0, length, Use::Read).map_err(|error| {
                Refusal::new(error, format_args!("cannot map kdregd's {what}: {error}"))
            })
        };
        let maps = Maps {
            log: map(log, abi::log_bytes(grant.capacity), "log")?,
            guard: map(guard, size_of::<abi::Guard>(), "guard")?,
            capacity: grant.capacity,
        };
        maps.check_log(grant)?;
        maps.check_guard()?;
        Ok(maps)
    }

    fn check_log(&self, grant: &Grant) -> Result<(), Refusal> {
        let word = |offset| self.log_word(offset).load(Ordering::Acquire);
        let first = word(offset_of!(LogHeader, version)).to_ne_bytes();
        let (version, capacity) = halves(first);
        let (mode, _) = halves(word(offset_of!(LogHeader, mode)).to_ne_bytes());
        let right = word(offset_of!(LogHeader, magic)) == abi::LOG_MAGIC
            && version == abi::VERSION
            && capacity == grant.capacity
            && mode == grant.mode
            && word(offset_of!(LogHeader, identity)) == grant.identity
            && word(offset_of!(LogHeader, tail)) & abi::LOG_DEAD == 0;
        right.then_some(()).ok_or_else(|| malformed("log"))
    }

    fn check_guard(&self) -> Result<(), Refusal> {
        let word = |offset| self.guard_word(offset).load(Ordering::Acquire);
        let (version, _) = halves(word(offset_of!(abi::Guard, version)).to_ne_bytes());
        let right =
            word(offset_of!(abi::Guard, magic)) == abi::GUARD_MAGIC && version == abi::VERSION;
        if !right {
            return Err(malformed("guard"));
        }
        if word(offset_of!(abi::Guard, word)) & abi::GUARD_DEAD != 0 {
            return Err(Refusal::new(
                Errno::ENODEV,
                format_args!("kdregd was stopped, or something has detached its programs"),
            ));
        }
        Ok(())
    }

    fn log_word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: any bytes are an atomic word.
        unsafe { &self.log.at::<AtomicU64>(offset, 1)[0] }
    }

    fn guard_word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { &self.guard.at::<AtomicU64>(offset, 1)[0] }
    }

    pub fn log(&self) -> Log<'_> {
        Log {
            tail: self.log_word(offset_of!(LogHeader, tail)),
            done: self.log_word(offset_of!(LogHeader, done)),
            // SAFETY: entries are atomic words.
            entries: unsafe {
                self.log
                    .at::<Entry>(abi::LOG_ENTRIES, self.capacity as usize)
            },
        }
    }

    pub fn guard(&self) -> &AtomicU64 {
        self.guard_word(offset_of!(abi::Guard, word))
    }

    /// Whether they still say anything.
    pub fn are_alive(&self) -> bool {
        // Acquire: as in `marks`.
        self.log().tail.load(Ordering::Acquire) & abi::LOG_DEAD == 0
            && self.guard().load(Ordering::Acquire) & abi::GUARD_DEAD == 0
    }
}

fn check(grant: &Grant) -> Result<(), Refusal> {
    let right = grant.capacity.is_power_of_two()
        && abi::LOG_CAPACITY.contains(&grant.capacity)
        && grant.log_bytes == abi::log_bytes(grant.capacity) as u64
        && grant.guard_bytes >= size_of::<abi::Guard>() as u64
        && grant.guard_bytes <= page_size() as u64
        && grant.ring_bytes.is_power_of_two()
        && grant.ring_bytes >= page_size() as u64
        && grant.ring_bytes <= RING_MAX;
    right.then_some(()).ok_or_else(|| malformed("grant"))
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(
        Errno::new(libc::EPROTO),
        format_args!("kdregd's {what} is not as this library knows it: another version?"),
    )
}

/// The two 32-bit members that share a word, in the order they have in memory.
fn halves([a, b, c, d, e, f, g, h]: [u8; 8]) -> (u32, u32) {
    (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    )
}
