// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes that the handler has read and not marked yet: none, as a rule. While
//! a thread that holds the table's lock is stopped they gather here, in a fixed
//! place; what does not fit makes everything change.

use crate::monitor::Reason;
use crate::monitor::table::Table;
use crate::range::{Range, USER_END};

/// How many fit.
const PLACES: usize = 256;

/// How often the lock is tried at once, and how often others are let run in
/// between: its holders are through in no time, unless they lost the processor.
const TRIES: usize = 64;
const YIELDS: usize = 16;

pub(super) struct Backlog {
    changes: [(Range, Reason); PLACES],
    count: usize,
}

fn everything() -> (Range, Reason) {
    (Range::between(0, USER_END), Reason::Unknown)
}

impl Backlog {
    pub fn new() -> Backlog {
        Backlog {
            changes: [everything(); PLACES],
            count: 0,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn push(&mut self, range: Range, reason: Reason) {
        if self.count == PLACES {
            self.push_everything();
        } else {
            self.changes[self.count] = (range, reason);
            self.count += 1;
        }
    }

    pub fn push_everything(&mut self) {
        // In the place of all that is contained in it.
        self.changes[0] = everything();
        self.count = 1;
    }

    /// Marks what is there. `false`: not all of it, the lock is taken.
    pub fn mark(&mut self, table: &Table) -> bool {
        for round in 0..TRIES + YIELDS {
            // In the order of reading: a region has one event, with the reason
            // of the first change.
            let mark = |&(range, reason): &(Range, Reason)| table.try_invalidate(range, reason);
            let done = self.changes[..self.count].iter().take_while(|c| mark(c));
            let done = done.count();
            self.changes.copy_within(done..self.count, 0);
            self.count -= done;
            if self.count == 0 {
                return true;
            }
            if round < TRIES {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::eventfd;
    use crate::monitor::table::Matching;

    fn page(number: usize) -> Range {
        Range::between(number << 12, (number + 1) << 12)
    }

    #[test]
    fn what_does_not_fit_changes_everything() {
        let table = Table::new(0, Matching::ByAddress).unwrap();
        let queue = eventfd::new().unwrap();
        let subscriber = table.subscribe(queue.number()).unwrap();
        let arm = |number| table.insert(subscriber, page(number), 0).unwrap();
        let far = arm(100_000);
        let mut backlog = Backlog::new();
        for number in 0..PLACES {
            arm(number);
            backlog.push(page(number), Reason::Unmap);
        }
        assert!(backlog.mark(&table) && backlog.is_empty());
        assert_eq!(table.armed(), 1);
        for number in 0..=PLACES {
            backlog.push(page(number), Reason::Unmap);
        }
        assert!(backlog.mark(&table));
        assert_eq!(table.armed(), 0);
        let word = table.words().at(far.0);
        assert_ne!(word.load(std::sync::atomic::Ordering::Relaxed), far.1);
    }
}
