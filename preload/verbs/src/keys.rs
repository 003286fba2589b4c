// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of the keys that programs have from the caches: whether work
//! that writes by them is outstanding.
//!
//! Keys with the same hash share a slot, and what is outstanding by one is
//! taken for outstanding by all of them.

use crate::abi::{ibv_context, ibv_sge};
use crate::lock::Lock;
use crate::queues::Posted;
use crate::reserved::Reserved;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

const SLOTS: usize = 1 << 16;
/// In how many queues the work by one key may be.
const QUEUES: usize = 4;

struct Slot {
    /// How many programs have a key with this hash.
    held: AtomicU32,
    /// It was in more queues than there is room for, or in one that is not
    /// known. For good.
    lost: AtomicBool,
    /// The key that was posted last, and half of its context's address.
    named: AtomicU64,
    /// Protects `last`. A leaf, taken under a queue's `order` too.
    lock: Lock,
    /// In each queue that has any, the request posted last: those before it
    /// complete before it.
    last: UnsafeCell<[Posted; QUEUES]>,
}

// SAFETY: `last` is read and written under `lock`.
unsafe impl Sync for Slot {}

// SAFETY: atomics, an unlocked lock, and no requests: zero is valid.
static TABLE: Reserved<Slot, SLOTS> = unsafe { Reserved::new() };

fn slot(context: *mut ibv_context, key: u32) -> Option<&'static Slot> {
    let hash = (key ^ (context as u32 >> 4)).wrapping_mul(0x9e37_79b9) >> 16;
    TABLE.all().get(hash as usize)
}

fn name(context: *mut ibv_context, key: u32) -> u64 {
    u64::from(context as u32) << 32 | u64::from(key)
}

/// A program gets a key; `false` when there is no memory to follow it with.
pub fn hand_out(context: *mut ibv_context, key: u32) -> bool {
    let Some(slot) = slot(context, key) else {
        return false;
    };
    // Nobody posts it before this returns. Relaxed throughout: whoever posts
    // the key has it from the thread that is here.
    if slot.named.load(Ordering::Relaxed) == name(context, key) {
        slot.named.store(0, Ordering::Relaxed);
    }
    slot.held.fetch_add(1, Ordering::Relaxed);
    true
}

/// The program has it no more.
pub fn take_back(context: *mut ibv_context, key: u32) {
    if let Some(slot) = slot(context, key) {
        slot.held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes that work names the keys of `list`.
pub fn name_all(context: *mut ibv_context, list: &[ibv_sge]) {
    for sge in list {
        name_one(context, sge.lkey);
    }
}

/// Notes that work names a key.
pub fn name_one(context: *mut ibv_context, key: u32) {
    if TABLE.known().is_null() {
        return;
    }
    if let Some(slot) = slot(context, key) {
        if slot.held.load(Ordering::Relaxed) != 0 {
            slot.named.store(name(context, key), Ordering::Relaxed);
        }
    }
}

/// Notes a request that writes by `key`; `None` for one that nothing is known of.
pub fn write(context: *mut ibv_context, key: u32, posted: Option<Posted>) {
    if TABLE.known().is_null() {
        return;
    }
    let Some(slot) = slot(context, key) else {
        return;
    };
    if slot.held.load(Ordering::Relaxed) == 0 {
        return;
    }
    slot.named.store(name(context, key), Ordering::Relaxed);
    let Some(posted) = posted else {
        slot.lost.store(true, Ordering::Relaxed);
        return;
    };
    slot.lock.lock();
    // SAFETY: under the lock; nothing in here panics.
    let last = unsafe { &mut *slot.last.get() };
    let beside = last.iter().position(|other| other.is_beside(&posted));
    match beside.or_else(|| last.iter().position(Posted::is_done)) {
        Some(place) => last[place] = posted,
        None => slot.lost.store(true, Ordering::Relaxed),
    }
    slot.lock.unlock();
}

/// Whether the card may still write by this key, on behalf of what was posted.
pub fn is_outstanding(context: *mut ibv_context, key: u32) -> bool {
    let Some(slot) = slot(context, key) else {
        return true;
    };
    slot.lock.lock();
    // SAFETY: under the lock.
    let done = unsafe { &*slot.last.get() }.iter().all(Posted::is_done);
    slot.lock.unlock();
    !done || slot.lost.load(Ordering::Relaxed)
}

/// Whether work named this key since it was handed out.
pub fn was_named(context: *mut ibv_context, key: u32) -> bool {
    slot(context, key).is_some_and(|slot| slot.named.load(Ordering::Relaxed) == name(context, key))
}
