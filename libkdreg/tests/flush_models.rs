// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of a flush that waits for what others are releasing
//! (`cache/undoing.rs`). The steps are those of the library, each under the lock
//! that it takes there.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use loom::thread;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

const SLOTS: usize = 2;

#[derive(Clone, Copy, PartialEq)]
enum Slot {
    Free,
    Idle,
    /// Dropped, held by who tells of it, and linked for that (`untold`) or taken
    /// out of the list (`telling`).
    Told,
    Retired,
}

struct State {
    slots: [Slot; SLOTS],
    marks: [bool; SLOTS],
    releasing: u32,
    telling: u32,
    untold: [bool; SLOTS],
    backlog: [bool; SLOTS],
    // Rounds
    begun: u32,
    opening: bool,
    marked: u32,
    waiting: u32,
}

impl State {
    fn is_idle(&self) -> bool {
        self.marked == 0 && !self.opening
    }

    fn is_over(&self, round: u32) -> bool {
        self.begun > round || self.begun == round && self.is_idle()
    }

    fn unmark(&mut self, slot: usize) {
        if std::mem::take(&mut self.marks[slot]) {
            self.marked -= 1;
        }
    }
}

struct Cache {
    state: Mutex<State>,
    flushing: AtomicBool,
    /// Of each slot that is `Retired`, whether its callbacks have not returned yet.
    undoing: [AtomicBool; SLOTS],
    idle: Condvar,
    /// What a deregistration uses; who flushes it away frees it, and sets up
    /// another for what is registered later, which none of the models does.
    insides: UnsafeCell<u32>,
    tells: bool,
}

impl Cache {
    fn new(tells: bool) -> Arc<Cache> {
        Arc::new(Cache {
            state: Mutex::new(State {
                slots: [Slot::Idle; SLOTS],
                marks: [false; SLOTS],
                releasing: 0,
                telling: 0,
                untold: [false; SLOTS],
                backlog: [false; SLOTS],
                begun: 0,
                opening: false,
                marked: 0,
                waiting: 0,
            }),
            flushing: AtomicBool::new(false),
            undoing: std::array::from_fn(|_| AtomicBool::new(true)),
            idle: Condvar::new(),
            insides: UnsafeCell::new(1),
            tells,
        })
    }

    fn say_released(&self) {
        if self.flushing.load(Ordering::Relaxed) {
            self.idle.notify_all();
        }
    }

    /// Deregisters a retired entry, and gives its slot back.
    fn release(&self, slot: usize) {
        self.undo(slot);
        self.settle(slot);
    }

    /// Deregisters a retired entry. loom takes what is SeqCst for AcqRel, but for fences:
    /// one stands behind each of the two for the order of both.
    fn undo(&self, slot: usize) {
        // SAFETY: loom checks that nobody frees it meanwhile.
        self.insides
            .with(|insides| assert_eq!(unsafe { *insides }, 1));
        self.undoing[slot].store(false, Ordering::Release);
        fence(Ordering::SeqCst);
    }

    /// Gives its slot back.
    fn settle(&self, slot: usize) {
        {
            let mut state = self.state.lock().unwrap();
            state.slots[slot] = Slot::Free;
            state.releasing -= 1;
            state.unmark(slot);
        }
        self.say_released();
    }

    /// Takes an idle entry, to release it.
    fn retire(&self, slot: usize) -> bool {
        let mut state = self.state.lock().unwrap();
        let idle = state.slots[slot] == Slot::Idle;
        if idle {
            state.slots[slot] = Slot::Retired;
            state.releasing += 1;
        }
        idle
    }

    /// Evicts one entry, as another cache of the group does.
    fn evict(&self, slot: usize) {
        if !self.retire(slot) {
            return;
        }
        self.release(slot);
    }

    /// Evicts one, to register another, which waits for `lock`, as a registering
    /// callback may; gives the slot back when it takes the cache's lock again.
    fn evict_to_register(&self, slot: usize, lock: &Mutex<()>) {
        if !self.retire(slot) {
            return;
        }
        self.undo(slot);
        let early = self.flushing.load(Ordering::Relaxed);
        if early {
            self.settle(slot);
        }
        drop(lock.lock().unwrap());
        if !early {
            self.settle(slot);
        }
    }

    /// Drops one, and leaves it to others, as a lookup does.
    fn leave(&self, slot: usize) {
        if !self.retire(slot) {
            return;
        }
        self.state.lock().unwrap().backlog[slot] = true;
        self.say_released();
    }

    fn drop_all(&self) {
        let mut retired = [false; SLOTS];
        {
            let mut state = self.state.lock().unwrap();
            for (slot, retired) in retired.iter_mut().enumerate() {
                if state.slots[slot] != Slot::Idle {
                    continue;
                }
                if self.tells {
                    state.slots[slot] = Slot::Told;
                    state.untold[slot] = true;
                } else {
                    state.slots[slot] = Slot::Retired;
                    state.releasing += 1;
                    *retired = true;
                }
            }
        }
        self.tell();
        (0..SLOTS)
            .filter(|&slot| retired[slot])
            .for_each(|slot| self.release(slot));
    }

    fn tell(&self) {
        loop {
            let slot = {
                let mut state = self.state.lock().unwrap();
                let next = state.untold.iter().position(|&untold| untold);
                let Some(slot) = next else { return };
                state.untold[slot] = false;
                state.telling += 1;
                slot
            };
            // SAFETY: as above.
            self.insides
                .with(|insides| assert_eq!(unsafe { *insides }, 1));
            {
                let mut state = self.state.lock().unwrap();
                state.telling -= 1;
                state.slots[slot] = Slot::Retired;
                state.releasing += 1;
            }
            self.say_released();
            self.release(slot);
        }
    }

    fn release_backlog(&self) {
        self.tell();
        let backlog = std::mem::take(&mut self.state.lock().unwrap().backlog);
        (0..SLOTS)
            .filter(|&slot| backlog[slot])
            .for_each(|slot| self.release(slot));
    }

    fn begin_round<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.begun += 1;
        state.opening = true;
        for slot in 0..SLOTS {
            let undone = match state.slots[slot] {
                Slot::Told => true,
                Slot::Retired => self.undoing[slot].load(Ordering::Acquire),
                _ => false,
            };
            if undone && !state.marks[slot] {
                state.marks[slot] = true;
                state.marked += 1;
            }
            if slot + 1 < SLOTS {
                drop(state);
                state = self.state.lock().unwrap();
            }
        }
        state.opening = false;
        if state.is_idle() {
            drop(state);
            self.idle.notify_all();
            state = self.state.lock().unwrap();
        }
        state
    }

    fn wait_for_others(&self) {
        let mut state = self.state.lock().unwrap();
        if state.releasing == 0 && state.telling == 0 {
            return;
        }
        state.waiting += 1;
        self.flushing.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let own = state.begun + 1;
        while !state.is_over(own) {
            if state.is_idle() {
                state = self.begin_round(state);
            } else if state.backlog == [false; SLOTS] && state.untold == [false; SLOTS] {
                state = self.idle.wait(state).unwrap();
            } else {
                drop(state);
                self.release_backlog();
                state = self.state.lock().unwrap();
            }
        }
        state.waiting -= 1;
        if state.waiting == 0 {
            self.flushing.store(false, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        self.drop_all();
        self.release_backlog();
        self.wait_for_others();
    }

    /// What was registered in goes, when it has been flushed.
    fn end(&self) {
        // SAFETY: nothing is being undone any more; loom checks it.
        self.insides.with_mut(|insides| unsafe { *insides = 0 });
    }
}

/// What a flush returns from is undone, whoever was undoing it: here and in all
/// that follow, what frees it afterwards would be found out.
fn flushed_beside(tells: bool, others: &'static [fn(&Cache)]) {
    explore(move || {
        let cache = Cache::new(tells);
        let others: Vec<_> = (others.iter())
            .map(|other| {
                let cache = cache.clone();
                thread::spawn(move || other(&cache))
            })
            .collect();
        cache.flush();
        cache.end();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

#[test]
fn a_flush_waits_for_evictions() {
    flushed_beside(false, &[|cache| cache.evict(0), |cache| cache.evict(1)]);
}

#[test]
fn a_flush_waits_for_one_that_drops_and_tells() {
    flushed_beside(true, &[Cache::drop_all]);
}

#[test]
fn a_flush_releases_what_is_left() {
    flushed_beside(false, &[|cache| cache.leave(0), |cache| cache.evict(1)]);
}

/// Of two that flush, both return, whatever the other waits for, and what is
/// undone by then may go.
#[test]
fn two_flush_at_once() {
    explore(|| {
        let cache = Cache::new(false);
        let other = {
            let cache = cache.clone();
            thread::spawn(move || cache.flush())
        };
        let evicts = {
            let cache = cache.clone();
            thread::spawn(move || cache.evict(0))
        };
        cache.flush();
        cache.end();
        evicts.join().unwrap();
        other.join().unwrap();
    });
}

/// Who flushes may have what a registering callback waits for.
#[test]
fn a_flush_waits_for_no_registration() {
    explore(|| {
        let cache = Cache::new(false);
        let lock = Arc::new(Mutex::new(()));
        let other = {
            let (cache, lock) = (cache.clone(), lock.clone());
            thread::spawn(move || cache.evict_to_register(0, &lock))
        };
        let held = lock.lock().unwrap();
        cache.flush();
        drop(held);
        cache.end();
        other.join().unwrap();
    });
}
