// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kdregd has a program do to logs, which user space cannot write to.

use super::calls;
use super::loaded::Generation;
use anyhow::{Context, Result};
use kdreg::monitor::bpf::abi;

const LOOK: u32 = 0;
const END: u32 = 1;
const UNINSTALL: u32 = 2;
const WAKE: u32 = 3;
const EXPECT: u32 = 4;
const FORGET: u32 = 5;
const END_ALL: u32 = 6;
const SWITCH: u32 = 7;
const LET_GO: u32 = 8;
const IMAGES: u32 = 9;
const DEPEND: u32 = 10;
const RELEASE: u32 = 11;
const UNCOUNT: u32 = 12;

/// `struct order`.
#[repr(C)]
#[derive(Default)]
struct Order {
    mm: u64,
    what: u32,
    found: u32,
    tail: u64,
    done: u64,
    identity: u64,
    mode: u32,
    capacity: u32,
}

const _: () = assert!(size_of::<Order>() == 48);

/// A log as it was.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Entries ever begun.
    pub entries: u64,
    /// Whether nothing is certain in it any more.
    pub dead: bool,
    /// Whose it is.
    pub identity: u64,
    /// `abi::MODE_*`.
    pub mode: u32,
    /// In entries.
    pub capacity: u32,
}

fn run(generation: &Generation, mut order: Order) -> Result<Order> {
    // SAFETY: plain integers without padding (its size is checked above).
    unsafe { calls::run(generation.program("orders"), &mut order) }.context("an order")?;
    Ok(order)
}

fn give(generation: &Generation, mm: u64, what: u32) -> Result<Option<Seen>> {
    let order = Order {
        mm,
        what,
        ..Default::default()
    };
    let order = run(generation, order)?;
    Ok((order.found != 0).then_some(Seen {
        entries: order.tail & !abi::LOG_DEAD,
        dead: order.tail & abi::LOG_DEAD != 0,
        identity: order.identity,
        mode: order.mode,
        capacity: order.capacity,
    }))
}

/// The log of an address space, if it has one.
pub fn look(generation: &Generation, mm: u64) -> Result<Option<Seen>> {
    give(generation, mm, LOOK)
}

/// Ends it: nothing in it is certain from now on. As it was before.
pub fn end(generation: &Generation, mm: u64) -> Result<Option<Seen>> {
    give(generation, mm, END)
}

/// Has changes of an address space looked for a log: one is about to be put in.
pub fn expect(generation: &Generation, mm: u64) -> Result<()> {
    give(generation, mm, EXPECT).map(drop)
}

/// It was not. (One that was put in is counted down by whatever ends it.)
pub fn forget(generation: &Generation, mm: u64) -> Result<()> {
    give(generation, mm, FORGET).map(drop)
}

/// Wakes the client of an address space, if it waits.
pub fn wake(generation: &Generation, mm: u64) -> Result<()> {
    give(generation, mm, WAKE).map(drop)
}

/// Ends all, by the guard.
pub fn end_all(generation: &Generation) -> Result<()> {
    give(generation, 0, END_ALL).map(drop)
}

/// Ends all, by the guard, which says from then on that no kdregd is to begin
/// anew.
pub fn uninstall(generation: &Generation) -> Result<()> {
    give(generation, 0, UNINSTALL).map(drop)
}

/// How often kernel.ftrace_enabled was read where its program sees that.
pub fn switch_reads(generation: &Generation) -> Result<u64> {
    let order = Order {
        what: SWITCH,
        ..Default::default()
    };
    Ok(run(generation, order)?.tail)
}

/// Lets go of a guard that is held. Programs have been found in place since its word was
/// `word`: false, if it is another by now.
pub fn let_go(generation: &Generation, word: u64) -> Result<bool> {
    let order = Order {
        what: LET_GO,
        tail: word,
        ..Default::default()
    };
    Ok(run(generation, order)?.found != 0)
}

/// The images of functions that mode flush has programs at the ends of (`bpf/images.h`).
#[derive(Clone, Copy, Debug)]
pub struct Images {
    /// How many there are of each.
    pub of: [u64; 2],
    /// Whether clients depend on there being one of each.
    pub depended_on: bool,
}

fn count(generation: &Generation, what: u32) -> Result<Images> {
    let order = Order {
        what,
        ..Default::default()
    };
    let order = run(generation, order)?;
    Ok(Images {
        of: [order.tail, order.done],
        depended_on: order.found != 0,
    })
}

/// Counts them.
pub fn images(generation: &Generation) -> Result<Images> {
    count(generation, IMAGES)
}

/// Counts them, and if there is one of each has the guard held from now on when another
/// is made.
pub fn depend_on_images(generation: &Generation) -> Result<Images> {
    count(generation, DEPEND)
}

/// No client depends on them.
pub fn release_images(generation: &Generation) -> Result<()> {
    count(generation, RELEASE).map(drop)
}

/// And nothing is known of how many there are: what sees them is about to be attached.
pub fn uncount_images(generation: &Generation) -> Result<()> {
    count(generation, UNCOUNT).map(drop)
}
