// SPDX-License-Identifier: MIT OR Apache-2.0
//! A registration, eviction or invalidation under way delays no hit on another
//! entry: while its callback is held, other threads hit. They are done before
//! it is let go, however fast the machine is; a hit that waits for it fails
//! the test after a minute.

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::{Manual, Share};
use kdreg::range::Range;
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const PAGE: usize = 4096;
const REGIONS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where callbacks wait.
#[derive(Default)]
struct Gate {
    /// Whether the next callback is to wait, and how many do.
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        if state.0 {
            state.1 += 1;
            self.changed.notify_all();
            while state.0 {
                state = self.changed.wait(state).unwrap();
            }
            state.1 -= 1;
        }
    }

    fn set(&self, closed: bool) {
        self.state.lock().unwrap().0 = closed;
        self.changed.notify_all();
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().1
    }

    /// Whether a callback has come to wait.
    fn await_caller(&self) -> bool {
        let state = self.state.lock().unwrap();
        let come = |state: &mut (bool, usize)| state.1 == 0;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, come);
        waited.unwrap().0.1 > 0
    }
}

#[derive(Default)]
struct Gates {
    register: Gate,
    deregister: Gate,
}

struct Slow(Arc<Gates>);

impl Registrar for Slow {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0.register.pass();
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {
        self.0.deregister.pass();
    }
}

/// Four pages each, so that there are interior addresses, and pages apart.
fn region(index: usize) -> Range {
    Range::new(0x10_0000_0000 + index * 8 * PAGE, 4 * PAGE).unwrap()
}

/// A full cache whose oldest entry is region 0.
struct Bed {
    manual: Share<Manual>,
    gates: Arc<Gates>,
    cache: Cache,
}

impl Bed {
    fn new() -> Bed {
        let (manual, monitor) = Manual::open().unwrap();
        let gates = Arc::new(Gates::default());
        let options = Options {
            max_entries: REGIONS,
            no_reaper: true,
            ..Options::default()
        };
        let cache = Cache::new(&monitor, options, Box::new(Slow(gates.clone()))).unwrap();
        for index in 0..REGIONS {
            drop(cache.get(region(index), 1).unwrap());
        }
        Bed {
            manual,
            gates,
            cache,
        }
    }

    /// Hits on all regions but 0: by the index, and by the tree, at addresses
    /// that were not asked for before.
    fn hits(&self, round: usize) {
        for index in 1..REGIONS {
            drop(self.cache.get(region(index), 1).unwrap());
            let interior = region(index).start() + (round % 4) * PAGE + 1;
            let interior = Range::new(interior, 16).unwrap();
            drop(self.cache.find(interior, 1).expect("a hit"));
        }
    }

    /// While `slow` is held at `gate`, two threads hit.
    fn hits_go_on(&self, gate: &Gate, what: &str, slow: impl FnOnce() + Send) {
        let before = self.cache.statistics().unwrap();
        gate.set(true);
        std::thread::scope(|scope| {
            let slow = scope.spawn(slow);
            let came = gate.await_caller();
            let (done, all_done) = channel();
            for _ in 0..2 {
                let done = done.clone();
                scope.spawn(move || {
                    (0..100).for_each(|round| self.hits(round));
                    // The receiver may have given up.
                    let _ = done.send(());
                });
            }
            let hit = (0..2).all(|_| all_done.recv_timeout(PATIENCE).is_ok());
            // Said only after the gate is open, or the scope would not end.
            let held = gate.waiting() == 1 && !slow.is_finished();
            gate.set(false);
            assert!(came, "{what}: no callback came");
            assert!(hit, "{what}: hits waited for it");
            assert!(held, "{what}: it was over before the hits were");
        });
        let after = self.cache.statistics().unwrap();
        let hits = (after.hits - before.hits) as usize;
        assert!(hits >= 2 * 100 * 2 * (REGIONS - 1), "{what}: {hits} hits");
    }
}

#[test]
fn a_registration_delays_no_hit() {
    let bed = Bed::new();
    // Without eviction: there is room.
    bed.cache.invalidate(region(0)).unwrap();
    bed.hits_go_on(&bed.gates.register, "registration", || {
        drop(bed.cache.get(region(REGIONS), 1).unwrap());
    });
}

#[test]
fn an_eviction_delays_no_hit() {
    let bed = Bed::new();
    bed.hits_go_on(&bed.gates.deregister, "eviction", || {
        drop(bed.cache.get(region(REGIONS), 1).unwrap());
    });
    assert_eq!(bed.cache.statistics().unwrap().evictions, 1);
}

#[test]
fn an_invalidation_delays_no_hit() {
    let bed = Bed::new();
    bed.hits_go_on(&bed.gates.deregister, "invalidation", || {
        assert_eq!(bed.cache.invalidate(region(0)), Ok(1));
    });
}

#[test]
fn taking_in_a_change_delays_no_hit() {
    let bed = Bed::new();
    bed.manual.change(region(0));
    bed.hits_go_on(&bed.gates.deregister, "change", || {
        assert_eq!(bed.cache.reap(), Ok(1));
    });
    assert_eq!(bed.cache.statistics().unwrap().invalidations, 1);
}

#[test]
fn the_last_put_of_what_is_gone_delays_no_hit() {
    let bed = Bed::new();
    let held = bed.cache.get(region(0), 1).unwrap();
    bed.cache.invalidate(region(0)).unwrap();
    bed.hits_go_on(&bed.gates.deregister, "release", || drop(held));
}
