// SPDX-License-Identifier: MIT OR Apache-2.0
//! Having processors switch tasks, so that the guard looks at them again.
//!
//! A task that is taken off behind a program's last look at the guard, and comes
//! back, leaves its processor uncertain until the next switch there. If it has that
//! processor for itself and computes, there may be none for long.
//!
//! Who goes there waits for as long as a task of higher priority keeps the processor,
//! so threads go that have nothing else to do.

use super::loaded::Generation;
use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Processors that a thread is on its way to.
static VISITED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

/// Has every processor that is uncertain switch, before long. Never waits.
pub fn force(generation: &Generation) -> Result<()> {
    let values = generation
        .map("processors")
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?
        .unwrap_or_default();
    for (number, value) in values.iter().enumerate() {
        if is_uncertain(value) {
            visit(number).context("a thread")?;
        }
    }
    Ok(())
}

/// Sends a thread to run on a processor for a moment, unless one is on its way.
fn visit(processor: usize) -> std::io::Result<Option<JoinHandle<()>>> {
    // A poisoned set is one all the same: nothing that may panic is done under it.
    let visited = || VISITED.lock().unwrap_or_else(PoisonError::into_inner);
    if !visited().insert(processor) {
        return Ok(None);
    }
    let visitor = move || {
        let mut there = CpuSet::new();
        if there.set(processor).is_ok() {
            // Of this thread alone. In vain where kdregd is not let, and where the
            // processor is off.
            let _ = sched_setaffinity(Pid::from_raw(0), &there);
        }
        visited().remove(&processor);
    };
    let started = thread::Builder::new()
        .name("kdregd-visit".into())
        .stack_size(64 << 10)
        .spawn(visitor);
    if started.is_err() {
        visited().remove(&processor);
    }
    started.map(Some)
}

/// `struct processor` begins with `uncertain`.
fn is_uncertain(value: &[u8]) -> bool {
    value
        .first_chunk()
        .is_some_and(|word| u64::from_ne_bytes(*word) & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sched::sched_getaffinity;

    #[test]
    fn who_sends_stays_and_nobody_is_sent_twice() {
        let ourselves = Pid::from_raw(0);
        let before = sched_getaffinity(ourselves).unwrap();
        let processor = (0..CpuSet::count())
            .find(|number| before.is_set(*number).unwrap())
            .unwrap();
        visit(processor).unwrap().unwrap().join().unwrap();
        assert_eq!(sched_getaffinity(ourselves).unwrap(), before);
        // One that does not come back.
        let busy = CpuSet::count() + 1;
        assert!(VISITED.lock().unwrap().insert(busy));
        assert!(visit(busy).unwrap().is_none());
        VISITED.lock().unwrap().remove(&busy);
        // And one that has.
        assert!(visit(processor).unwrap().is_some());
    }
}
