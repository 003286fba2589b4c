// SPDX-License-Identifier: MIT OR Apache-2.0
//! loom models of a cache's own thread (`cache/ahead.rs`): what is accepted while
//! the cache is drained is told of before the drain is over, and when the cache
//! has ended no thread is in a callback, whichever of them took another's place.
//! The steps are those of the library, each under the lock that it takes there.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread::{self, JoinHandle};

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

enum Worker {
    Nobody,
    Expected,
    Here(JoinHandle<()>),
    Leaving,
}

struct State {
    draining: bool,
    taken: u32,
    waiting: u32,
    doing: bool,
    ending: bool,
    worker: Worker,
    accepted: u32,
    /// The next callback ends its thread.
    escapes: bool,
}

struct Cache {
    state: Mutex<State>,
    work: Condvar,
    idle: Condvar,
    told: AtomicU32,
    /// What a callback uses; who ends the cache frees it.
    insides: UnsafeCell<u32>,
}

impl State {
    fn is_drained(&self) -> bool {
        self.taken == 0 && self.waiting == 0 && !self.doing
    }
}

impl Cache {
    fn new(escapes: bool) -> Arc<Cache> {
        Arc::new(Cache {
            state: Mutex::new(State {
                draining: false,
                taken: 0,
                waiting: 0,
                doing: false,
                ending: false,
                worker: Worker::Nobody,
                accepted: 0,
                escapes,
            }),
            work: Condvar::new(),
            idle: Condvar::new(),
            told: AtomicU32::new(0),
            insides: UnsafeCell::new(1),
        })
    }

    fn use_insides(&self) {
        // SAFETY: loom checks that it is not gone.
        self.insides
            .with(|insides| assert_eq!(unsafe { *insides }, 1));
    }

    fn ask(cache: &Arc<Cache>) -> bool {
        let starts = {
            let mut state = cache.state.lock().unwrap();
            while matches!(state.worker, Worker::Expected) {
                state = cache.idle.wait(state).unwrap();
            }
            if state.draining || state.ending {
                return false;
            }
            match state.worker {
                Worker::Nobody => {
                    state.worker = Worker::Expected;
                    true
                }
                _ => false,
            }
        };
        if starts {
            Cache::start(cache);
        }
        let mut state = cache.state.lock().unwrap();
        while matches!(state.worker, Worker::Expected) {
            state = cache.idle.wait(state).unwrap();
        }
        if state.draining || state.ending {
            return false;
        }
        state.waiting += 1;
        state.accepted += 1;
        drop(state);
        cache.work.notify_all();
        true
    }

    fn start(cache: &Arc<Cache>) {
        let its = cache.clone();
        let thread = thread::spawn(move || {
            if its.serve() {
                Cache::have_followed(&its);
            }
        });
        cache.state.lock().unwrap().worker = Worker::Here(thread);
        cache.work.notify_all();
        cache.idle.notify_all();
    }

    fn have_followed(cache: &Arc<Cache>) {
        let own = {
            let mut state = cache.state.lock().unwrap();
            if state.ending || !matches!(state.worker, Worker::Here(_)) {
                return;
            }
            std::mem::replace(&mut state.worker, Worker::Expected)
        };
        // Detached.
        drop(own);
        Cache::start(cache);
    }

    /// Whether a callback ended the thread.
    fn serve(&self) -> bool {
        loop {
            {
                let mut state = self.state.lock().unwrap();
                loop {
                    if state.ending {
                        return false;
                    }
                    if state.waiting > 0 && !matches!(state.worker, Worker::Expected) {
                        break;
                    }
                    state = self.work.wait(state).unwrap();
                }
                state.waiting -= 1;
                state.doing = true;
            }
            let (slot, escaped) = {
                let mut state = self.state.lock().unwrap();
                let slot = !state.draining;
                state.taken += u32::from(slot);
                (slot, std::mem::take(&mut state.escapes))
            };
            if slot {
                // reg
                self.use_insides();
                let mut state = self.state.lock().unwrap();
                state.taken -= 1;
            }
            if escaped {
                let mut state = self.state.lock().unwrap();
                state.doing = false;
                state.waiting += 1;
                return true;
            }
            // ready
            self.use_insides();
            self.told.fetch_add(1, Ordering::Relaxed);
            let draining = {
                let mut state = self.state.lock().unwrap();
                state.doing = false;
                state.draining
            };
            if draining {
                self.idle.notify_all();
            }
        }
    }

    fn drain(&self) {
        let mut state = self.state.lock().unwrap();
        state.draining = true;
        while !state.is_drained() {
            state = self.idle.wait(state).unwrap();
        }
        let told = self.told.load(Ordering::Relaxed);
        assert_eq!(told, state.accepted, "over before all are told");
    }

    fn end(&self) {
        let mut state = self.state.lock().unwrap();
        state.ending = true;
        self.work.notify_all();
        loop {
            match std::mem::replace(&mut state.worker, Worker::Leaving) {
                Worker::Here(thread) => {
                    drop(state);
                    thread.join().unwrap();
                    state = self.state.lock().unwrap();
                    state.worker = Worker::Nobody;
                }
                Worker::Expected => {
                    state.worker = Worker::Expected;
                    state = self.idle.wait(state).unwrap();
                }
                Worker::Nobody | Worker::Leaving => break,
            }
        }
        drop(state);
        // SAFETY: nobody is in a callback; loom checks it.
        self.insides.with_mut(|insides| unsafe { *insides = 0 });
    }
}

#[test]
fn a_drain_is_over_when_all_that_was_accepted_is_told_of() {
    explore(|| {
        let cache = Cache::new(false);
        let asker = {
            let cache = cache.clone();
            thread::spawn(move || Cache::ask(&cache))
        };
        Cache::ask(&cache);
        cache.drain();
        asker.join().unwrap();
        assert!(!Cache::ask(&cache));
        cache.end();
    });
}

#[test]
fn nobody_is_in_a_callback_of_a_cache_that_has_ended() {
    explore(|| {
        let cache = Cache::new(true);
        Cache::ask(&cache);
        cache.end();
    });
}

#[test]
fn what_ended_a_thread_is_told_of_by_the_next() {
    explore(|| {
        let cache = Cache::new(true);
        Cache::ask(&cache);
        cache.drain();
        cache.end();
    });
}
