// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is posted and what has completed, counted for each queue.
//!
//! A queue of a reliable or unreliable connection completes its work in the
//! order in which it was posted. So the place of a request among those posted
//! to its queue tells, with how many have completed, whether it has: no list of
//! requests is kept. What is counted are receives, and in a send queue the
//! requests that write to local memory (reads and atomic operations). Counts
//! can lag behind, when completions were errors or are never polled; then work
//! is taken for outstanding that is not. They never run ahead:
//!
//! * The place is taken and the request given to the driver under the lock of
//!   the queue, so that the order is the same here and there.
//! * What the driver refused is taken off again, under the same lock.
//! * A completion is counted when it says that it succeeded and which kind it
//!   is; of an error nobody knows the kind.
//! * A number that a queue had that went with work unpolled, or that had no
//!   place, is not counted for again: what is left in the completion queue would
//!   be taken for the new one's.
//! * A read without a completion of its own (unsignaled) has a place like any.
//!   So the n-th completion is that of the n-th place or of a later one, and all
//!   up to that place are done: the count only lags, by one from then on.

use crate::abi::{ibv_context, ibv_qp_ex};
use crate::driver_ops::DriverOps;
use crate::lock::Lock;
use crate::reserved::Reserved;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many queue pairs and shared receive queues are known at a time. What is
/// posted to others counts as outstanding for ever.
const CAPACITY: usize = 1 << 14;
/// How far a place may be from where it is looked for first.
const PROBES: usize = 32;

/// How many completions a queue can count. Beyond, it counts no more.
const MOST: u64 = (1 << 40) - 1;

/// One direction of a queue pair.
pub struct Half {
    /// Protects the order: held from when places are taken until the driver
    /// has the requests. Before the driver's own lock; nothing else is taken
    /// inside but the lock of a key (`keys`), which is a leaf.
    pub order: Lock,
    /// Requests that were given to the driver. Written under `order`.
    posted: AtomicU64,
    /// Of these, how many are known to have completed, in the lower 40 bits;
    /// above them how many queues were here before. In one word, so that a
    /// thread that polls late does not count for the next queue at this place.
    completed: AtomicU64,
    /// Set once, until the queue goes: completions say nothing about requests.
    uncounted: AtomicBool,
}

impl Half {
    /// The place of the next request; under `order`.
    pub fn place(&self) -> u64 {
        let place = self.posted.load(Ordering::Relaxed);
        self.posted.store(place + 1, Ordering::Relaxed);
        place
    }

    /// Takes the last `number` places off; under the same hold of `order`.
    pub fn refused(&self, number: u64) {
        self.posted.fetch_sub(number, Ordering::Relaxed);
    }

    pub fn is_uncounted(&self) -> bool {
        // Relaxed: set by the thread that posts, before it posts.
        self.uncounted.load(Ordering::Relaxed)
    }

    pub fn give_up_counting(&self) {
        self.uncounted.store(true, Ordering::Relaxed);
    }

    fn generation(&self) -> u32 {
        (self.completed.load(Ordering::Relaxed) >> 40) as u32
    }

    fn is_drained(&self) -> bool {
        self.completed.load(Ordering::Relaxed) & MOST == self.posted.load(Ordering::Relaxed)
            && !self.is_uncounted()
    }

    /// The next queue begins here. Release: pairs with the Acquire in
    /// `Posted::is_done`.
    fn begin(&self, counted: bool) {
        self.posted.store(0, Ordering::Relaxed);
        self.uncounted.store(!counted, Ordering::Relaxed);
        let next = self.completed.load(Ordering::Relaxed) >> 40 << 40;
        self.completed
            .store(next.wrapping_add(1 << 40), Ordering::Release);
    }
}

/// A queue pair, or a shared receive queue. Its place in the table is used for
/// others when it is gone.
#[repr(align(64))]
pub struct Queues {
    /// The device's context, FREE or GONE. Written under CHANGES, after the
    /// rest (Release, for the Acquire in `find`).
    context: AtomicUsize,
    number: AtomicU64,
    pub receive: Half,
    pub send: Half,
    pub driver_ops: DriverOps,
}

/// Nothing was ever here, nor further on.
const FREE: usize = 0;
/// Something was.
const GONE: usize = 1;
/// Something is, which is being destroyed.
const LEAVING: usize = 2;

// SAFETY: atomics and unlocked mutexes: zero is valid, and nothing to drop.
static TABLE: Reserved<Queues, CAPACITY> = unsafe { Reserved::new() };

/// Protects which queues are at which place. Leaf.
static CHANGES: Mutex<()> = Mutex::new(());

/// How many queues there are. Relaxed: written under CHANGES.
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// Hashes of numbers that went with work unpolled, of each half. Relaxed: read
/// and written under CHANGES.
static UNPOLLED: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

fn hash(context: usize, number: u64) -> usize {
    let mixed = (context as u64 >> 4 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 32) as usize
}

fn unpolled(context: usize, number: u64, is_send: bool) -> (&'static AtomicU64, u64) {
    let hash = hash(context, number | u64::from(is_send) << 33);
    (&UNPOLLED[hash / 64 % UNPOLLED.len()], 1 << (hash % 64))
}

fn is_unpolled(context: usize, number: u64, is_send: bool) -> bool {
    let (word, bit) = unpolled(context, number, is_send);
    word.load(Ordering::Relaxed) & bit != 0
}

fn set_unpolled(context: usize, number: u64, is_send: bool) {
    let (word, bit) = unpolled(context, number, is_send);
    word.fetch_or(bit, Ordering::Relaxed);
}

fn places(context: usize, number: u64) -> impl Iterator<Item = &'static Queues> {
    let table = TABLE.all();
    let first = hash(context, number);
    (0..PROBES)
        .filter(|_| !table.is_empty())
        .map(move |step| &table[(first + step) % CAPACITY])
}

/// A shared receive queue's number, which no queue pair has.
pub fn shared(handle: u32) -> u64 {
    1 << 32 | u64::from(handle)
}

/// A queue, if something was posted to it.
pub fn find(context: *mut ibv_context, number: u64) -> Option<&'static Queues> {
    if TABLE.known().is_null() {
        return None;
    }
    let context = context as usize;
    for queues in places(context, number) {
        match queues.context.load(Ordering::Acquire) {
            FREE => return None,
            found if found == context && queues.number.load(Ordering::Relaxed) == number => {
                return Some(queues);
            }
            _ => {}
        }
    }
    None
}

/// A queue that something is to be posted to; `None` when there is no place.
/// `counted`: whether it completes in order.
pub fn of(context: *mut ibv_context, number: u64, counted: bool) -> Option<&'static Queues> {
    find(context, number).or_else(|| begin(context, number, counted))
}

#[cold]
fn begin(context: *mut ibv_context, number: u64, counted: bool) -> Option<&'static Queues> {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let found = find(context, number);
    if found.is_some() {
        return found;
    }
    let context = context as usize;
    let is_free = |queues: &&Queues| queues.context.load(Ordering::Relaxed) <= GONE;
    let Some(place) = places(context, number).find(is_free) else {
        // Nobody counts what it completes, now or when there is a place.
        set_unpolled(context, number, false);
        set_unpolled(context, number, true);
        return None;
    };
    for is_send in [false, true] {
        let counted = counted && !is_unpolled(context, number, is_send);
        place.half(is_send).begin(counted);
    }
    place.driver_ops.forget();
    place.number.store(number, Ordering::Relaxed);
    place.context.store(context, Ordering::Release);
    LIVE.fetch_add(1, Ordering::Relaxed);
    Some(place)
}

impl Queues {
    fn half(&self, is_send: bool) -> &Half {
        if is_send { &self.send } else { &self.receive }
    }

    /// Nothing of it is on its way any more. Under CHANGES.
    fn end(&self, context: usize) {
        let number = self.number.load(Ordering::Relaxed);
        for is_send in [false, true] {
            if !self.half(is_send).is_drained() {
                set_unpolled(context, number, is_send);
            }
        }
        self.receive.begin(true);
        self.send.begin(true);
        self.context.store(GONE, Ordering::Release);
        LIVE.fetch_sub(1, Ordering::Relaxed);
    }

    fn is(&self, context: usize, number: u64) -> bool {
        self.context.load(Ordering::Acquire) == context
            && self.number.load(Ordering::Relaxed) == number
    }

    fn index(&self) -> u32 {
        let start = TABLE.known() as usize;
        ((std::ptr::from_ref(self) as usize - start) / size_of::<Queues>()) as u32
    }
}

/// A request completed, of this queue's receives or of what its send queue
/// counts. Takes the queue from where it is now, if it still is.
pub fn completed(context: *mut ibv_context, number: u32, is_send: bool) {
    let number = u64::from(number);
    let Some(queues) = find(context, number) else {
        return;
    };
    let half = queues.half(is_send);
    let mut word = half.completed.load(Ordering::Acquire);
    // Acquire above: what `is` reads is not older than the word. So the word is
    // this queue's, or one from before it, and then it is not exchanged.
    while queues.is(context as usize, number) {
        if word & MOST == MOST {
            half.give_up_counting();
            return;
        }
        // Release: pairs with the Acquire in `Posted::is_done`. Whoever
        // deregisters because of a completion has heard of it from this thread.
        match half.completed.compare_exchange_weak(
            word,
            word + 1,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            Ok(_) => return,
            Err(now) => word = now,
        }
    }
}

/// A queue that is being destroyed. Its number may be another's before that is
/// known to have succeeded: so nobody finds it meanwhile.
pub struct Leaving {
    /// `None`: nothing was posted to it.
    queues: Option<&'static Queues>,
    context: usize,
    number: u64,
    elsewhere: bool,
}

/// Takes a queue out of what is found. `elsewhere`: its receives were posted to
/// another, so that nobody knows which of its completions are unpolled.
pub fn leave(context: *mut ibv_context, number: u64, elsewhere: bool) -> Leaving {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let queues = find(context, number);
    if let Some(queues) = queues {
        queues.context.store(LEAVING, Ordering::Release);
    }
    Leaving {
        queues,
        context: context as usize,
        number,
        elsewhere,
    }
}

impl Leaving {
    /// The driver has destroyed it, and the card has dropped what was posted
    /// to it; or it has not, and it is as it was.
    pub fn end(self, destroyed: bool) {
        let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
        if destroyed && self.elsewhere {
            set_unpolled(self.context, self.number, false);
        }
        match self.queues {
            Some(queues) if destroyed => queues.end(self.context),
            Some(queues) => queues.context.store(self.context, Ordering::Release),
            None => {}
        }
    }
}

/// A device was closed, and all its queues with it, completion queues included.
pub fn closed(context: *mut ibv_context) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    if LIVE.load(Ordering::Relaxed) == 0 {
        return;
    }
    for queues in TABLE.all() {
        if queues.context.load(Ordering::Relaxed) == context as usize {
            // What nobody has polled nobody will.
            queues.receive.begin(true);
            queues.send.begin(true);
            queues.end(context as usize);
        }
    }
}

/// A request: where it was posted, and its place there. Zero bytes are none.
#[derive(Clone, Copy)]
pub struct Posted {
    /// The number of its place in the table, from 1.
    queues: u32,
    generation: u32,
    is_send: bool,
    place: u64,
}

impl Posted {
    /// A request that is at `place` of one of the halves; under its `order`.
    pub fn at(queues: &Queues, is_send: bool, place: u64) -> Posted {
        Posted {
            queues: queues.index() + 1,
            generation: queues.half(is_send).generation(),
            is_send,
            place,
        }
    }

    /// Whether both are in the same queue.
    pub fn is_beside(&self, other: &Posted) -> bool {
        (self.queues, self.generation, self.is_send)
            == (other.queues, other.generation, other.is_send)
    }

    /// Whether the card is known to be done with it.
    pub fn is_done(&self) -> bool {
        let Some(queues) = (self.queues as usize)
            .checked_sub(1)
            .and_then(|index| TABLE.all().get(index))
        else {
            return true;
        };
        let half = queues.half(self.is_send);
        let word = half.completed.load(Ordering::Acquire);
        // Whoever reads of this request has seen its place taken, and those of
        // requests before it by the same key, of which nothing else is known
        // any more. Its own place may have been taken off again, and be that of
        // one posted since: then those up to there, and of what is left at
        // least the last.
        let posted = half.posted.load(Ordering::Relaxed);
        (word >> 40) as u32 != self.generation
            || posted == 0
            || word & MOST >= posted.min(self.place + 1) && !half.is_uncounted()
    }
}

/// The queues of a queue pair in its extended form.
pub fn of_extended(qp: *mut ibv_qp_ex) -> Option<&'static Queues> {
    // SAFETY: the program's queue pair, as it gave it to libibverbs.
    let base = unsafe { &(*qp).qp_base };
    find(base.context, u64::from(base.qp_num))
}
