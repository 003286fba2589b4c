// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether an address can be had again before its log has the end of what was
//! there: another thread waits for it.

use super::absent::Absent;
use super::enrolled::Enrolled;
use super::memory::page;
use crate::proof::{Cell, Outcome};
use kdreg::monitor::Capabilities;
use std::sync::Barrier;
use std::thread;

const ROUNDS: usize = 200;
const PAGES: usize = 64;

/// Tries it some times, with memory that has pages, and with such that has none.
pub fn attempts(enrolled: &Enrolled) -> [Cell; 2] {
    [
        attempt(enrolled, "munmap, address taken again", libc::MAP_POPULATE),
        attempt(enrolled, "munmap, address taken again, no pages", 0),
    ]
}

fn attempt(enrolled: &Enrolled, change: &str, how: i32) -> Cell {
    let outcome = match rounds(enrolled, how) {
        Ok(()) => Outcome::Held,
        Err(Ok(why)) => Outcome::Failed(why),
        Err(Err(Absent(why))) => Outcome::Absent(why),
    };
    Cell {
        memory: "anonymous".into(),
        change: change.into(),
        capability: Capabilities::STRICT,
        outcome,
    }
}

fn rounds(enrolled: &Enrolled, how: i32) -> Result<(), Result<String, Absent>> {
    for _ in 0..ROUNDS {
        one(enrolled, how)?;
    }
    Ok(())
}

fn one(enrolled: &Enrolled, how: i32) -> Result<(), Result<String, Absent>> {
    let length = PAGES * page();
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: where the kernel sees fit.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, flags | how, -1, 0) };
    if at == libc::MAP_FAILED {
        return Err(Err(Absent::last("mmap")));
    }
    let start = at as usize;
    let since = enrolled.mark();
    let begin = Barrier::new(2);
    let seen = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            begin.wait();
            loop {
                // SAFETY: nothing that is there is mapped over.
                let again = unsafe {
                    libc::mmap(
                        start as *mut _,
                        length,
                        rights,
                        flags | libc::MAP_FIXED_NOREPLACE,
                        -1,
                        0,
                    )
                };
                if again != libc::MAP_FAILED {
                    return enrolled.knows(since, &(start..start + length));
                }
                if std::io::Error::last_os_error().raw_os_error() != Some(libc::EEXIST) {
                    return Ok(());
                }
            }
        });
        begin.wait();
        // SAFETY: mapped above, and used by nobody else.
        unsafe { libc::munmap(at, length) };
        waiting.join()
    });
    // SAFETY: the other thread's mapping, if it got it.
    unsafe { libc::munmap(at, length) };
    match seen {
        Ok(seen) => seen.map_err(Ok),
        Err(_) => Err(Err(Absent("a thread has ended".into()))),
    }
}
