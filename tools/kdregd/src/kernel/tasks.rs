// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel knows of processes: their address spaces and whose they are.

use super::calls;
use super::loaded::Generation;
use anyhow::{Context, Result};
use libbpf_rs::{MapCore, MapFlags};

/// `struct answer`: about a task that has an address space.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Its address space.
    pub mm: u64,
    /// When it began, in nanoseconds since boot.
    pub start_time: u64,
    /// Another number once it has executed another program.
    pub executions: u64,
    /// Not 0: the address space has had a subscriber to MMU notifications.
    pub subscribed: u32,
    /// Its number.
    pub pid: u32,
    /// Its process's number.
    pub tgid: u32,
    /// Whose it is.
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
}

const _: () = assert!(size_of::<Task>() == 48);

fn ask(generation: &Generation, process: u32, all: bool) -> Result<Vec<Task>> {
    // struct question
    let question = u32::from(all).to_ne_bytes();
    generation
        .map("questions")
        .update(&0u32.to_ne_bytes(), &question, MapFlags::ANY)?;
    let bytes = calls::iterate(generation.program("tasks"), process).context("list of tasks")?;
    let tasks = bytes.chunks_exact(size_of::<Task>()).map(|bytes| {
        // SAFETY: long enough; plain integers, of which any bytes are a value;
        // it need not be aligned.
        unsafe { bytes.as_ptr().cast::<Task>().read_unaligned() }
    });
    Ok(tasks.collect())
}

/// A process that has an address space.
pub fn of_process(generation: &Generation, process: u32) -> Result<Option<Task>> {
    Ok(ask(generation, process, false)?.into_iter().next())
}

/// All tasks whose address space has a log.
pub fn with_logs(generation: &Generation) -> Result<Vec<Task>> {
    ask(generation, 0, true)
}
