// SPDX-License-Identifier: MIT OR Apache-2.0
//! Having processors switch tasks, so that the guard looks at them again.
//!
//! A task that is taken off behind a program's last look at the guard, and comes
//! back, leaves its processor uncertain until the next switch there. If it has that
//! processor for itself and computes, there may be none for long.

use super::generation::Generation;
use anyhow::{Context as _, Result};
use libbpf_rs::{MapCore as _, MapFlags};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Has every processor that is uncertain switch, by running there for a moment.
pub fn force(generation: &Generation) -> Result<()> {
    let values = generation
        .map("processors")
        .lookup_percpu(&0u32.to_ne_bytes(), MapFlags::ANY)?
        .unwrap_or_default();
    let ourselves = Pid::from_raw(0);
    let before = sched_getaffinity(ourselves).context("where kdregd may run")?;
    for (number, value) in values.iter().enumerate() {
        let mut there = CpuSet::new();
        if is_uncertain(value) && there.set(number).is_ok() {
            // In vain where kdregd is not let, and where the processor is off.
            let _ = sched_setaffinity(ourselves, &there);
        }
    }
    sched_setaffinity(ourselves, &before).context("where kdregd may run")
}

/// `struct processor` begins with `uncertain`.
fn is_uncertain(value: &[u8]) -> bool {
    value
        .first_chunk()
        .is_some_and(|word| u64::from_ne_bytes(*word) & 1 != 0)
}
