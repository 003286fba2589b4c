// SPDX-License-Identifier: MIT OR Apache-2.0
// The models: part of each module that `log_models.rs` makes.

use self::changes::{Entry, Log};
use self::marks::{Marked, Marks, Standing, What};
use crate::explore;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::thread;

/// What a program does, or leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each model has its own")]
pub enum Writer {
    Right,
    TailLast,
}

/// A log of so many entries, a guard, two pages of memory that may change, and a
/// region's word for each.
struct World {
    tail: AtomicU64,
    done: AtomicU64,
    entries: Vec<Entry>,
    guard: AtomicU64,
    marks: Marks,
    /// The reader's lock, taken by trying only.
    lock: AtomicU64,
    /// A word for each page: even while its region is unchanged.
    words: [AtomicU64; 2],
    /// Changes of each whose calls have returned.
    changed: [AtomicU64; 2],
}

impl World {
    fn new(capacity: usize) -> Arc<World> {
        let zero = || AtomicU64::new(0);
        let entry = || Entry {
            sequence: zero(),
            start: zero(),
            end: zero(),
            change: zero(),
        };
        Arc::new(World {
            tail: zero(),
            done: zero(),
            entries: (0..capacity).map(|_| entry()).collect(),
            guard: zero(),
            marks: Marks::new(0),
            lock: zero(),
            words: [zero(), zero()],
            changed: [zero(), zero()],
        })
    }

    fn begin(&self) -> u64 {
        // A full barrier, as the kernel's atomic operations that return a value are.
        let number = self.tail.fetch_add(1, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        number
    }

    fn fill(&self, number: u64, page: usize) {
        let entry = &self.entries[number as usize % self.entries.len()];
        entry.start.store(page as u64, Ordering::Relaxed);
        entry.end.store(page as u64 + 1, Ordering::Relaxed);
        // What comes before it, stores that it is being written, buys nothing.
        entry.sequence.store(2 * number + 2, Ordering::Release);
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    /// A change from its beginning until its call returns.
    fn change(&self, page: usize, writer: Writer) {
        if writer == Writer::TailLast {
            let number = self.tail.load(Ordering::Acquire);
            self.fill(number, page);
            self.changed[page].store(1, Ordering::Release);
            self.tail.store(number + 1, Ordering::Release);
        } else {
            self.fill(self.begin(), page);
            self.changed[page].store(1, Ordering::Release);
        }
    }

    fn mark(&self, what: What) -> Marked {
        for (page, word) in self.words.iter().enumerate() {
            let page = page as u64;
            let hit = match what {
                What::Everything => true,
                What::Change(change) => change.start <= page && page < change.end,
            };
            if hit {
                // As `words::bump`, whose readers load with Acquire.
                word.store(1, Ordering::Relaxed);
            }
        }
        Marked::All
    }

    fn catch_up(&self) -> Standing {
        // As `lock::Mutex::try_lock`.
        let taken = (self.lock).compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_err() {
            return Standing::Behind;
        }
        let log = Log {
            tail: &self.tail,
            done: &self.done,
            entries: &self.entries,
        };
        let standing = self.marks.catch_up(&log, &self.guard, 8, |what| self.mark(what));
        self.lock.swap(0, Ordering::Release);
        standing
    }

    /// What a check says of a page.
    fn is_valid(&self, page: usize) -> bool {
        let word = || self.words[page].load(Ordering::Relaxed) == 0;
        if self.marks.are_current(&self.tail, &self.guard) {
            return word();
        }
        self.catch_up() == Standing::Settled && word()
    }

    /// A check that must not say "valid" of what was changed by then.
    fn check(&self, page: usize) {
        let changed = self.changed[page].load(Ordering::Acquire) != 0;
        let valid = self.is_valid(page);
        assert!(!(changed && valid), "page {page} was changed, and found valid");
    }
}

/// One changes a page; two look, so that one finds what the other applied.
#[allow(dead_code, reason = "of one order")]
pub fn changes(writer: Writer) {
    explore(3, move || {
        let world = World::new(2);
        let (changing, looking) = (world.clone(), world.clone());
        let threads = [
            thread::spawn(move || changing.change(0, writer)),
            thread::spawn(move || looking.check(0)),
        ];
        world.check(0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!world.is_valid(0));
        assert_eq!(world.catch_up(), Standing::Settled);
        assert!(world.is_valid(1));
    });
}

/// A log of one entry, which two changes take one after the other, while one reads.
#[allow(dead_code, reason = "of one order")]
pub fn laps(writer: Writer) {
    explore(3, move || {
        let world = World::new(1);
        let changing = world.clone();
        let thread = thread::spawn(move || {
            changing.change(1, writer);
            changing.change(0, writer);
        });
        world.check(0);
        world.check(1);
        thread.join().unwrap();
        assert!(!world.is_valid(0) && !world.is_valid(1));
    });
}

/// One that began has written nothing, when another laps it and a reader is
/// overtaken; then both write.
#[allow(dead_code, reason = "of one order")]
pub fn stragglers(writer: Writer) {
    explore(2, move || {
        let world = World::new(1);
        let held_up = world.begin();
        let (late, changing) = (world.clone(), world.clone());
        let threads = [
            thread::spawn(move || late.fill(held_up, 1)),
            thread::spawn(move || {
                changing.change(1, writer);
                changing.change(0, writer);
            }),
        ];
        world.check(0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!world.is_valid(0));
    });
}

/// A change is passed over while a processor is counted as uncertain; that it was
/// lost is counted in the same step as that it is over, or (`in_one`: not) after.
#[allow(dead_code, reason = "of the guard, whose orders are the log's")]
pub fn losses(in_one: bool) {
    explore(3, move || {
        let world = World::new(1);
        let (losing, looking) = (world.clone(), world.clone());
        let threads = [
            thread::spawn(move || {
                losing.guard.fetch_add(1, Ordering::AcqRel);
                // Passed over.
                losing.changed[0].store(1, Ordering::Release);
                if in_one {
                    losing.guard.fetch_add((1 << 16) - 1, Ordering::AcqRel);
                } else {
                    losing.guard.fetch_sub(1, Ordering::AcqRel);
                    losing.guard.fetch_add(1 << 16, Ordering::AcqRel);
                }
            }),
            thread::spawn(move || looking.check(0)),
        ];
        world.check(0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!world.is_valid(0));
    });
}
