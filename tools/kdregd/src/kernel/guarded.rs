// SPDX-License-Identifier: MIT OR Apache-2.0
//! Telling the guard which programs it watches over (`struct watched_programs`).

use super::calls;
use super::loaded::Generation;
use super::programs::{Program, SCHEDULER, WATCHED};
use anyhow::{Context, Result, anyhow};
use libbpf_rs::{MapCore, MapFlags};
use std::os::fd::BorrowedFd;

/// `struct program_place`.
const PLACE: usize = 24;
/// `struct watched`: active, stats, link.
const SLOT: usize = 24;
const LINK: usize = 16;

/// What is known of the programs: a slot for each, and the scheduler's link behind them.
fn known(generation: &Generation) -> Result<Vec<u8>> {
    generation.element("watched")
}

/// A number at a place in bytes.
fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn id(program: BorrowedFd<'_>) -> Result<u32> {
    Ok(calls::program_info(program)
        .context("what a program is")?
        .id)
}

fn change(generation: &Generation, edit: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    let map = generation.map("watched");
    let key = 0u32.to_ne_bytes();
    let mut value = known(generation)?;
    edit(&mut value)?;
    // Words that stay the same are written over by themselves; a slot that is
    // new is of a program that does not run yet.
    map.update(&key, &value, MapFlags::ANY)?;
    Ok(())
}

/// Programs that are about to be attached.
pub fn watch(generation: &Generation, programs: &[&Program]) -> Result<()> {
    let places = calls::iterate(generation.program("programs"), 0).context("list of programs")?;
    change(generation, |value| {
        for program in programs {
            let Some(number) = program.watched else {
                continue;
            };
            let id = id(generation.program(program.name))?;
            let place = places
                .chunks_exact(PLACE)
                .find(|place| half(place, 16) == id)
                .ok_or_else(|| anyhow!("the kernel does not list {}", program.name))?;
            anyhow::ensure!(
                word(place, 0) != 0 && word(place, 8) != 0,
                "the kernel does not count the runs of {}",
                program.name
            );
            let slot = &mut value[number * SLOT..][..SLOT];
            slot[..LINK].copy_from_slice(&place[..LINK]);
        }
        Ok(())
    })
}

/// A program that is attached by a link, which is pinned: from now on nothing is
/// certain once that goes.
pub fn own(generation: &Generation, program: &Program, link: BorrowedFd<'_>) -> Result<()> {
    let number = calls::link_id(link).context("what a link is")?;
    change(generation, |value| {
        if program.name == SCHEDULER {
            value[WATCHED * SLOT..][..4].copy_from_slice(&number.to_ne_bytes());
        } else if let Some(slot) = program.watched {
            value[slot * SLOT + LINK..][..4].copy_from_slice(&number.to_ne_bytes());
        }
        Ok(())
    })
}

/// The links that somebody depends on.
pub fn owned(generation: &Generation) -> Result<Vec<u32>> {
    let value = known(generation)?;
    let slots = (0..WATCHED).map(|slot| half(&value, slot * SLOT + LINK));
    let all = slots.chain([half(&value, WATCHED * SLOT)]);
    Ok(all.filter(|link| *link != 0).collect())
}

/// Programs that are about to be detached on purpose: nobody depends on them. How
/// often they run is still looked at, as some may be under way.
pub fn disown(generation: &Generation, programs: &[&Program]) -> Result<()> {
    change(generation, |value| {
        for number in programs.iter().filter_map(|program| program.watched) {
            value[number * SLOT + LINK..][..4].copy_from_slice(&0u32.to_ne_bytes());
        }
        Ok(())
    })
}

/// Whether it is laid out as ours: another build's may not be.
pub fn is_known(generation: &Generation) -> bool {
    generation.map("watched").value_size() as usize == WATCHED * SLOT + 8
}
