// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of the two small concurrent cores: the reference word of a
//! cache entry, and the guard of an asynchronous backend. The files under test
//! are compiled here a second time, over loom's atomics, so that every
//! interleaving and every allowed reordering is tried.

/// The library's fences are a compiler fence and membarrier(2): of a light and
/// a heavy one, one comes wholly before the other, which is what `SeqCst` says
/// of two fences. It says two things more, neither of which may be relied on:
///
/// * Two light ones have an order as well. That matters where each of two threads
///   reads, after its light fence, what the other wrote before its own. Light fences
///   are in `enter` alone. What is read after it, up to `leave`, is the entry's word
///   and fields, and the thread's own counts (`enter_as`, `take_at`, `put_at`). Of
///   these another thread that has no heavy fence writes the word alone, and only
///   its count, by atomic additions: state and owner change under the lock, and
///   what else is there was published with them. To one word all accesses have an
///   order without any fence. Of two words, each thread may miss what the other
///   added: it looks at the count to tell whether references of its own were put
///   back by others, who had them from it, and knew of its own count by that.
/// * A store after it is a release. So where a thread goes on to another entry,
///   loom takes the store in `enter` for one, and does not miss that of `leave`,
///   nor the order of the count before it.
///
/// tests/weak_memory has the same protocols on a machine where a light fence is no
/// operation, and a heavy one an interruption of each thread at a time of its own;
/// without `leave`'s release, and with what a compiler might do without either light
/// fence, they go wrong there.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

    pub(crate) const OWNERS: usize = 4;
    pub(crate) const PLACES: usize = 1;

    /// A thread of the model, by what it calls itself.
    #[derive(Clone, Copy)]
    pub(crate) struct Me(pub(crate) usize);

    impl Me {
        pub(crate) fn is(self, identity: usize) -> bool {
            self.0 == identity
        }
    }

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn pause(_round: u32) {
        loom::thread::yield_now();
    }
}

#[path = "../../src/hazard.rs"]
#[allow(
    dead_code,
    clippy::modulo_one,
    reason = "models use parts of the file, and few places"
)]
mod hazard;

#[path = "../../src/cache/refs/mod.rs"]
#[allow(dead_code, unused_imports, reason = "models use parts of the files")]
mod refs;

#[path = "../../src/monitor/guard.rs"]
#[allow(dead_code, reason = "models use parts of the file")]
mod guard;

mod ending;
mod entry;
mod guarded;
mod owned;
mod shared;

use entry::Entry;
use guard::{Guard, Standing};
use hazard::{Caller, Owner, Owners};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use loom::thread;
use refs::{Detach, NOBODY, Put, Refs};

/// Two threads that can own entries, and their numbers.
const FIRST: u8 = 1;
const SECOND: u8 = 2;

/// Every interleaving with at most so many switches away from a thread that
/// could go on: all of them are more than can be tried. A model whose first
/// thread never lets go before it joins is tried one way only: it is to yield
/// first.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(preemptions);
    // Not one of loom's: it counts over all runs.
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    assert!(runs.load(Ordering::Relaxed) > 1, "only one way was tried");
}

/// Starts a thread that does something with what several have.
fn beside<S: 'static, T: 'static>(
    shared: &Arc<S>,
    work: impl FnOnce(&S) -> T + 'static,
) -> thread::JoinHandle<T> {
    let shared = shared.clone();
    thread::spawn(move || work(&shared))
}

/// A thread whose number no entry has.
const STRANGER: u8 = 3;

/// As an owner: all threads that use the entry.
const MANY: u8 = u8::MAX;

/// Runs a model with an entry that has no owner, with one whose owner is the
/// first thread, and with one that is shared.
fn owned_or_not(preemptions: usize, model: impl Fn(u8) + Sync + Send + Copy + 'static) {
    for owner in [NOBODY, FIRST, MANY] {
        explore(preemptions, move || model(owner));
    }
}
