// SPDX-License-Identifier: MIT OR Apache-2.0
//! What writers leave behind, one step after the other. What they do at once is for
//! the models (`tests/log_models.rs`, `tests/weak_memory`).

use super::abi::{
    GUARD_DEAD, GUARD_EPOCH_SHIFT, Hello, LOG_DEAD, Message, MessageHeader, Status, VERSION,
};
use super::changes::{Change, Taken};
use super::marks::{Marks, What};
use super::*;
use crate::lock::Mutex;
use crate::monitor::{Reason, state_words};
use crate::range::{Range, USER_END};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const CAPACITY: u64 = 4;
const LOSS: u64 = 1 << GUARD_EPOCH_SHIFT;

/// A log and a guard, and what was marked for them. Never freed, as those that are
/// mapped are not while anybody reads them.
pub(in crate::monitor) struct Written {
    tail: AtomicU64,
    done: AtomicU64,
    entries: [Entry; CAPACITY as usize],
    pub guard: AtomicU64,
    marked: Mutex<Vec<(Range, Reason)>>,
}

/// Who reads it, and a state word that every change bumps.
struct Reading(&'static Written, Option<&'static AtomicU32>);

impl Source for Reading {
    fn log(&self) -> Log<'_> {
        self.0.log()
    }
    fn guard(&self) -> &AtomicU64 {
        &self.0.guard
    }
    fn mark(&self, range: Range, reason: Reason) -> Marked {
        self.0.marked.lock().push((range, reason));
        self.1.inspect(|word| state_words::bump(word));
        Marked::All
    }
}

impl Written {
    pub fn new() -> &'static Written {
        let zero = || AtomicU64::new(0);
        Box::leak(Box::new(Written {
            tail: zero(),
            done: zero(),
            entries: std::array::from_fn(|_| Entry {
                sequence: zero(),
                start: zero(),
                end: zero(),
                change: zero(),
            }),
            guard: zero(),
            marked: Mutex::new(Vec::new()),
        }))
    }

    /// A reader of it.
    pub fn reader(&'static self) -> &'static Reader {
        self.read_for(None)
    }

    /// One who bumps this word for every change.
    pub fn reader_of(&'static self, word: &'static AtomicU32) -> &'static Reader {
        self.read_for(Some(word))
    }

    fn read_for(&'static self, word: Option<&'static AtomicU32>) -> &'static Reader {
        let reader = Box::leak(Box::new(Reader::new()));
        reader.open(Box::new(Reading(self, word)));
        reader
    }

    fn log(&self) -> Log<'_> {
        Log {
            tail: &self.tail,
            done: &self.done,
            entries: &self.entries,
        }
    }

    fn entry(&self, number: u64) -> &Entry {
        &self.entries[(number % CAPACITY) as usize]
    }

    /// A writer begins: its number.
    pub fn begin(&self) -> u64 {
        let number = self.tail.fetch_add(1, Ordering::SeqCst);
        let sequence = &self.entry(number).sequence;
        sequence.store(2 * number + 1, Ordering::SeqCst);
        number
    }

    /// It fills in what changed, and is through.
    pub fn finish(&self, number: u64, change: Change) {
        let entry = self.entry(number);
        entry.start.store(change.start, Ordering::SeqCst);
        entry.end.store(change.end, Ordering::SeqCst);
        // What is behind the change is nobody's.
        let halves = [change.change, 0xdead_beef].map(u32::to_ne_bytes);
        let halves = u64::from_ne_bytes(halves.concat().try_into().unwrap());
        entry.change.store(halves, Ordering::SeqCst);
        entry.sequence.store(2 * number + 2, Ordering::SeqCst);
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub fn write(&self, change: Change) {
        self.finish(self.begin(), change);
    }

    fn take_marked(&self) -> Vec<(Range, Reason)> {
        std::mem::take(&mut *self.marked.lock())
    }

    /// What `marks` conclude in so many steps, and what they have marked.
    fn catch_up(
        &self,
        marks: &Marks,
        steps: usize,
        mark: impl Fn(What) -> Marked,
    ) -> (Standing, Vec<What>) {
        let mut asked = Vec::new();
        let standing = marks.catch_up(&self.log(), &self.guard, steps, |what| {
            asked.push(what);
            mark(what)
        });
        (standing, asked)
    }

    fn all(&self, marks: &Marks) -> (Standing, Vec<What>) {
        self.catch_up(marks, 64, |_| Marked::All)
    }
}

/// The `n`th of different changes.
pub(in crate::monitor) fn change(n: u64) -> Change {
    Change {
        start: n << 16,
        end: (n + 1) << 16,
        change: 0x0102_0304 + n as u32,
    }
}

fn changes(numbers: std::ops::Range<u64>) -> Vec<What> {
    numbers.map(|n| What::Change(change(n))).collect()
}

fn current(written: &Written, marks: &Marks) -> bool {
    marks.are_current(&written.tail, &written.guard)
}

#[test]
fn what_is_logged_is_marked_once_and_in_order() {
    let (written, marks) = (Written::new(), Marks::new(0));
    assert!(current(written, &marks));
    assert_eq!(written.all(&marks), (Standing::Settled, vec![]));
    let mut n = 0;
    for many in [1, 2, CAPACITY, CAPACITY, 3, CAPACITY] {
        for n in n..n + many {
            written.write(change(n));
        }
        assert!(!current(written, &marks));
        let expected = (Standing::Settled, changes(n..n + many));
        assert_eq!(written.all(&marks), expected);
        assert!(current(written, &marks));
        n += many;
    }
}

#[test]
fn who_is_not_through_is_waited_for() {
    let (written, marks) = (Written::new(), Marks::new(0));
    let first = written.begin();
    written.write(change(1));
    assert_eq!(written.log().take(first), Taken::Unfinished);
    assert_eq!(written.all(&marks), (Standing::Behind, vec![]));
    assert!(!current(written, &marks));
    written.finish(first, change(0));
    assert_eq!(written.all(&marks), (Standing::Settled, changes(0..2)));
}

#[test]
fn an_entry_is_told_from_those_of_other_laps() {
    let written = Written::new();
    (0..CAPACITY).for_each(|n| written.write(change(n)));
    assert_eq!(written.log().capacity(), CAPACITY);
    assert_eq!(written.log().take(0), Taken::Change(change(0)));
    assert_eq!(written.log().take(CAPACITY), Taken::Unfinished);
    // Its next writer may be putting anything there, and has said nothing yet.
    written.tail.fetch_add(1, Ordering::SeqCst);
    assert_eq!(written.log().take(0), Taken::Overwritten);
    assert_eq!(written.log().take(1), Taken::Change(change(1)));
    written.finish(CAPACITY, change(4));
    assert_eq!(written.log().take(0), Taken::Overwritten);
    assert_eq!(written.log().take(CAPACITY), Taken::Change(change(4)));
}

#[test]
fn overtaken_everything_is_marked_once_nobody_writes() {
    let (written, marks) = (Written::new(), Marks::new(0));
    for n in 0..2 * CAPACITY {
        written.write(change(n));
    }
    let late = written.begin();
    assert_eq!(written.all(&marks), (Standing::Behind, vec![]));
    written.finish(late, change(late));
    let everything = vec![What::Everything];
    assert_eq!(written.all(&marks), (Standing::Settled, everything.clone()));
    assert!(current(written, &marks));
    // Who was held up a whole lap, and is through at last, has put an older sequence
    // over that of a later entry: no reader waits for that for ever.
    let next = late + 1;
    (next..next + 2 * CAPACITY).for_each(|n| written.write(change(n)));
    let entry = written.entry(next);
    entry.sequence.store(2 * next - 1, Ordering::SeqCst);
    assert_eq!(written.log().take(next), Taken::Unfinished);
    assert_eq!(written.all(&marks), (Standing::Settled, everything));
    // And it goes on from there.
    written.write(change(7));
    assert_eq!(written.all(&marks), (Standing::Settled, changes(7..8)));
}

#[test]
fn what_could_not_be_marked_is_marked_again() {
    let (written, marks) = (Written::new(), Marks::new(0));
    (0..3).for_each(|n| written.write(change(n)));
    let not = written.catch_up(&marks, 64, |_| Marked::Not);
    assert_eq!(not, (Standing::Behind, changes(0..1)));
    // More of the first than goes in two steps.
    let some = written.catch_up(&marks, 2, |_| Marked::Some);
    let twice = [changes(0..1), changes(0..1)].concat();
    assert_eq!(some, (Standing::Behind, twice));
    let all = written.catch_up(&marks, 2, |_| Marked::All);
    assert_eq!(all, (Standing::Behind, changes(0..2)));
    assert_eq!(written.all(&marks), (Standing::Settled, changes(2..3)));
}

#[test]
fn a_loss_is_made_good_once() {
    let (written, marks) = (Written::new(), Marks::new(0));
    let everything = vec![What::Everything];
    let says = |word| written.guard.store(word, Ordering::SeqCst);
    says(LOSS);
    assert!(!current(written, &marks));
    let some = written.catch_up(&marks, 64, |_| Marked::Some);
    assert_eq!(some, (Standing::Behind, everything.clone()));
    assert!(!current(written, &marks));
    assert_eq!(written.all(&marks), (Standing::Settled, everything.clone()));
    assert!(current(written, &marks));
    assert_eq!(written.all(&marks), (Standing::Settled, vec![]));
    // Another, while there may be more.
    says(2 * LOSS + 1);
    assert_eq!(written.all(&marks), (Standing::Uncertain, everything));
    assert!(!current(written, &marks));
    assert_eq!(written.all(&marks), (Standing::Uncertain, vec![]));
    says(2 * LOSS);
    assert!(current(written, &marks));
    // Nothing of what was before the log was begun to be read.
    marks.renew(5 * LOSS + 3);
    says(5 * LOSS);
    assert!(current(written, &marks));
    written.write(change(0));
    assert!(!current(written, &marks));
    assert_eq!(written.all(&marks), (Standing::Settled, changes(0..1)));
    marks.renew(5 * LOSS);
    assert!(
        !current(written, &marks),
        "a log is read from its beginning"
    );
}

#[test]
fn what_is_dead_stays_so() {
    let (written, marks) = (Written::new(), Marks::new(0));
    written.guard.store(GUARD_DEAD, Ordering::SeqCst);
    assert_eq!(written.all(&marks), (Standing::Dead, vec![]));
    assert!(!current(written, &marks));
    written.guard.store(0, Ordering::SeqCst);
    written.write(change(0));
    written.tail.fetch_or(LOG_DEAD, Ordering::SeqCst);
    assert_eq!(written.all(&marks), (Standing::Dead, vec![]));
    assert!(!current(written, &marks));
    assert_eq!(written.log().take(0), Taken::Overwritten);
}

#[test]
fn a_reader_without_a_log_finds_nothing_valid() {
    let new = Reader::new();
    assert!(!new.is_current());
    assert_eq!(new.catch_up(), Standing::Dead);
    let written = Written::new();
    let reader = written.reader();
    assert!(reader.is_current());
    assert_eq!(reader.catch_up(), Standing::Settled);
    reader.close();
    assert!(!reader.is_current());
    assert_eq!(reader.catch_up(), Standing::Dead);
    assert_eq!(written.take_marked(), []);
}

#[test]
fn a_reader_marks_whole_pages_and_everything_where_it_cannot_tell() {
    let (written, everything) = (Written::new(), Range::between(0, USER_END));
    let reader = written.reader();
    let unmap = Reason::Unmap as u32;
    let marked = |start: u64, end: u64| {
        written.write(Change {
            start,
            end,
            change: unmap,
        });
        assert!(!reader.is_current());
        assert_eq!(reader.catch_up(), Standing::Settled);
        assert!(reader.is_current());
        let [(range, reason)] = written.take_marked()[..] else {
            panic!("one mark for each change");
        };
        assert_eq!(reason, Reason::of_change(unmap));
        range
    };
    let two = Range::between(1 << 16, 3 << 16);
    assert_eq!(marked(1 << 16, 3 << 16), two);
    assert_eq!(marked((1 << 16) + 1, (3 << 16) - 1), two);
    let last = Range::between(USER_END - (1 << 16), USER_END);
    assert_eq!(marked(last.start() as u64, u64::MAX), last);
    assert_eq!(marked(1 << 16, 1 << 16), everything);
    assert_eq!(marked(2 << 16, 1 << 16), everything);
    written.guard.store(LOSS, Ordering::SeqCst);
    assert_eq!(reader.catch_up(), Standing::Settled);
    assert_eq!(written.take_marked(), [(everything, Reason::Unknown)]);
    // Whoever waits for events is told of the end.
    written.tail.fetch_or(LOG_DEAD, Ordering::SeqCst);
    assert!(!reader.is_current());
    assert_eq!(reader.catch_up(), Standing::Dead);
    assert_eq!(written.take_marked(), [(everything, Reason::Lost)]);
}

#[test]
fn a_message_is_taken_for_what_it_says() {
    let hello = Hello {
        header: Hello::header(),
        version: VERSION,
        capacity: 64,
        flags: 3,
    };
    let bytes = hello.as_bytes();
    assert_eq!(Hello::from_bytes(bytes), Some(hello));
    assert_eq!(Status::from_bytes(bytes), None, "another kind");
    assert_eq!(Hello::from_bytes(&bytes[..bytes.len() - 1]), None);
    assert_eq!(Hello::from_bytes(&[]), None);
    let said = |size| Hello {
        header: MessageHeader {
            size,
            ..hello.header
        },
        ..hello
    };
    let length = hello.header.size;
    assert_eq!(length as usize, bytes.len());
    for wrong in [length - 1, length + 1] {
        assert_eq!(Hello::from_bytes(said(wrong).as_bytes()), None);
    }
    // A later version's, with more behind.
    let longer = said(length + 8);
    let longer_bytes = [longer.as_bytes(), &[1; 8]].concat();
    assert_eq!(Hello::from_bytes(&longer_bytes), Some(longer));
}
