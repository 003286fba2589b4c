// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is known of keys: whether work that writes by them is outstanding, and
//! which of them programs have from the caches.
//!
//! Work is noted whoever made the registration: a driver gives a key again, and
//! what was posted by the last registration that had it, which no cache knew,
//! writes by the next one, which a cache may keep.
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
    /// How many keys with this hash caches have registered.
    kept: AtomicU32,
    /// How many of these programs have. Written under `lock` when a key is
    /// given back.
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

impl Slot {
    /// Whether the card is done with all that was posted.
    ///
    /// # Safety
    /// Under the lock.
    unsafe fn is_done(&self) -> bool {
        // SAFETY: the caller's promise; nothing in here panics.
        let last = unsafe { &*self.last.get() };
        last.iter().all(Posted::is_done) && !self.lost.load(Ordering::Relaxed)
    }
}

// SAFETY: atomics, an unlocked lock, and no requests: zero is valid.
static TABLE: Reserved<Slot, SLOTS> = unsafe { Reserved::new() };

fn slot(context: *mut ibv_context, key: u32) -> Option<&'static Slot> {
    let hash = (key ^ (context as u32 >> 4)).wrapping_mul(0x9e37_79b9) >> 16;
    TABLE.get(hash as usize)
}

fn name(context: *mut ibv_context, key: u32) -> u64 {
    u64::from(context as u32) << 32 | u64::from(key)
}

/// Makes room to note what is posted; `false` when there is no memory for it.
/// Before the first device whose work is seen.
pub fn follow() -> bool {
    TABLE.base().is_some()
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

/// The same, if the card cannot write by it on behalf of what was posted;
/// whether that is so. `let_go` makes the registration nobody's, at the same
/// time for all that post: who posts the key before is seen here, and who posts
/// it after finds the registration idle (`write`).
pub fn take_back_if_done(context: *mut ibv_context, key: u32, let_go: impl FnOnce()) -> bool {
    let Some(slot) = slot(context, key) else {
        return false;
    };
    slot.lock.lock();
    // SAFETY: under its lock.
    let done = unsafe { slot.is_done() };
    if done {
        slot.held.fetch_sub(1, Ordering::Relaxed);
        let_go();
    }
    slot.lock.unlock();
    done
}

/// Whether the card may still write by this key, on behalf of what was posted.
pub fn is_outstanding(context: *mut ibv_context, key: u32) -> bool {
    let Some(slot) = slot(context, key) else {
        return true;
    };
    slot.lock.lock();
    // SAFETY: under its lock.
    let done = unsafe { slot.is_done() };
    slot.lock.unlock();
    !done
}

/// A cache has registered it; `false` when there is no memory to follow it with.
/// Relaxed: whoever posts the key has it from a thread that was here.
pub fn made(context: *mut ibv_context, key: u32) -> bool {
    if !follow() {
        return false;
    }
    let slot = slot(context, key);
    if let Some(slot) = slot {
        slot.kept.fetch_add(1, Ordering::Relaxed);
    }
    slot.is_some()
}

/// It has it no more.
pub fn unmade(context: *mut ibv_context, key: u32) {
    if let Some(slot) = slot(context, key) {
        slot.kept.fetch_sub(1, Ordering::Relaxed);
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
    if let Some(slot) = slot(context, key) {
        if slot.held.load(Ordering::Relaxed) != 0 {
            slot.named.store(name(context, key), Ordering::Relaxed);
        }
    }
}

/// Puts a request in the place of one of its queue, or of one that is done;
/// `false` when there is none.
#[inline(never)]
fn put(last: &mut [Posted; QUEUES], posted: &Posted) -> bool {
    let beside = last.iter().position(|other| other.is_beside(posted));
    let place = beside.or_else(|| last.iter().position(Posted::is_done));
    place.is_some_and(|place| {
        last[place] = *posted;
        true
    })
}

/// Notes a request that writes by `key`; `None` for one that nothing is known of.
/// Whether the key may be one that was given back: then what stays registered
/// by it is to be revoked before the driver has the request.
#[must_use]
pub fn write(context: *mut ibv_context, key: u32, posted: Option<Posted>) -> bool {
    // There is one: `follow` was before the device could be posted to.
    let Some(slot) = slot(context, key) else {
        return false;
    };
    slot.named.store(name(context, key), Ordering::Relaxed);
    slot.lock.lock();
    // SAFETY: under the lock; nothing in here panics.
    let last = unsafe { &mut *slot.last.get() };
    match posted {
        // As a rule a key is in one queue.
        Some(posted) if last[0].is_beside(&posted) => last[0] = posted,
        _ if posted.is_some_and(|posted| put(last, &posted)) => {}
        _ => slot.lost.store(true, Ordering::Relaxed),
    }
    let idle = slot.kept.load(Ordering::Relaxed) > slot.held.load(Ordering::Relaxed);
    slot.lock.unlock();
    idle
}

/// Whether work named this key since it was handed out.
pub fn was_named(context: *mut ibv_context, key: u32) -> bool {
    slot(context, key).is_some_and(|slot| slot.named.load(Ordering::Relaxed) == name(context, key))
}
