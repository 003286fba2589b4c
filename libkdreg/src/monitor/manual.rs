// SPDX-License-Identifier: MIT OR Apache-2.0
//! A backend whose changes are announced by a call: for tests of what stands
//! on a monitor, and for measuring it without one. Not part of the API.
//!
//! It comes in two kinds. [`Manual::open`] matches changes with regions by
//! address, in an interval tree of its own, so that [`Manual::change`] can be
//! told of a range. [`Manual::open_unmatched`] keeps what the kernel backend
//! keeps in user space (slot, state word, cookie) and matches nothing, as that
//! is the kernel's part: what is left of a monitor that costs nothing.

use super::backend::{Activity, Backend, Capabilities, Kind, Needs, RegionName, Subscriber};
use super::shared::Lease;
use super::subscription;
use super::table::{Matching, Table};
use super::{Event, Monitor, Reason, Region, Validity};
use crate::errno::Errno;
pub use crate::memory::Share;
use crate::range::Range;
use std::sync::atomic::AtomicU32;
#[cfg(test)]
use std::sync::atomic::{AtomicUsize, Ordering};

/// Watches nothing by itself: [`Manual::change`] says what changed.
pub struct Manual {
    table: Table,
    matching: Matching,
    /// Whether a check looks at a guard, as that of relaxed userfaultfd does.
    guarded: bool,
    /// Called before and after each region is armed, where discards are not
    /// ordered.
    between: Option<Between>,
    /// How often it was asked to arm regions: one, or many. Relaxed: a count for
    /// whoever makes the calls.
    #[cfg(test)]
    asked: AtomicUsize,
}

/// What other threads do meanwhile.
type Between = Box<dyn Fn() + Send + Sync>;

impl Manual {
    /// A backend and a monitor on it. Its check is the kernel backend's.
    pub fn open() -> Result<(Share<Manual>, Monitor), Errno> {
        Manual::make(Matching::ByAddress, false, None)
    }

    /// As `open`, with the check of relaxed userfaultfd.
    pub fn open_guarded() -> Result<(Share<Manual>, Monitor), Errno> {
        Manual::make(Matching::ByAddress, true, None)
    }

    /// As `open`, without the tree: monitoring and unmonitoring are each a few
    /// stores in the table. Nothing can be changed by address on it; a cache
    /// on it is told by [`Cache::invalidate`](crate::cache::Cache::invalidate).
    pub fn open_unmatched() -> Result<(Share<Manual>, Monitor), Errno> {
        Manual::make(Matching::BySlot, false, None)
    }

    /// As `open_guarded`, with changes that are discards, announced before their
    /// pages go, as userfaultfd's are. `between` is called before and after each
    /// region is armed.
    pub fn open_unordered(between: Between) -> Result<(Share<Manual>, Monitor), Errno> {
        Manual::make(Matching::ByAddress, true, Some(between))
    }

    fn make(
        matching: Matching,
        guarded: bool,
        between: Option<Between>,
    ) -> Result<(Share<Manual>, Monitor), Errno> {
        let manual = Share::new(Manual {
            table: Table::new(0, matching)?,
            matching,
            guarded,
            between,
            #[cfg(test)]
            asked: AtomicUsize::new(0),
        })?;
        let monitor = Monitor::on(Lease::private(manual.clone().unsize(|it| it))?, false)?;
        Ok((manual, monitor))
    }

    /// Declares that what `range` maps has changed.
    ///
    /// # Panics
    /// On a backend that matches nothing: it would tell nobody.
    pub fn change(&self, range: Range) {
        assert!(
            self.matching == Matching::ByAddress,
            "Manual::open_unmatched() knows no addresses"
        );
        self.table.invalidate(range, Reason::Unmap);
    }

    /// How many times it was asked to watch regions, however many at a time.
    #[cfg(test)]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// How many regions are being watched.
    pub fn watched(&self) -> u32 {
        self.table.armed()
    }

    /// Counts a call that has regions armed.
    fn count_call(&self) {
        #[cfg(test)]
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    fn arm(&self, subscriber: &Subscriber, range: Range, cookie: u64) -> Result<Region, Errno> {
        let meanwhile = || self.between.iter().for_each(|between| between());
        meanwhile();
        let (slot, generation) = self.table.insert(subscriber.id, range, cookie)?;
        meanwhile();
        Ok(Region {
            word: self.table.words().at(slot),
            generation,
            slot,
        })
    }
}

impl Backend for Manual {
    fn kind(&self) -> Kind {
        Kind::Kernel
    }

    fn activity(&self) -> Activity {
        self.table.activity()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::UNMAP
    }
    fn validity(&self, _relaxed: bool) -> Validity {
        if self.guarded {
            Validity::guarded(&self.table.words().guard)
        } else {
            Validity::SYNCHRONOUS
        }
    }
    fn discards_are_ordered(&self) -> bool {
        self.between.is_none()
    }
    fn subscribe(&self) -> Result<Subscriber, Errno> {
        subscription::begin(&self.table)
    }
    fn unsubscribe(&self, subscriber: &Subscriber) {
        subscription::end(&self.table, subscriber, |_| ());
    }
    fn monitor(
        &self,
        subscriber: &Subscriber,
        range: Range,
        cookie: u64,
        _needs: Needs,
    ) -> Result<Region, Errno> {
        self.count_call();
        self.arm(subscriber, range, cookie)
    }
    fn monitors_many(&self) -> bool {
        true
    }
    fn monitor_all(
        &self,
        subscriber: &Subscriber,
        wanted: &[(Range, u64)],
        _needs: Needs,
        regions: &mut Vec<Result<Region, Errno>>,
    ) {
        self.count_call();
        let armed = |&(range, cookie): &(Range, u64)| self.arm(subscriber, range, cookie);
        regions.extend(wanted.iter().map(armed));
    }
    fn word(&self, name: RegionName) -> Option<&'static AtomicU32> {
        self.table.words().find(name.slot)
    }
    fn unmonitor(&self, name: RegionName) {
        self.table.remove(name.slot, name.generation);
    }
    fn may_have_events(&self) -> bool {
        self.table.any_pending()
    }
    fn drain(&self, subscriber: &Subscriber, events: &mut [Event]) -> usize {
        subscription::drain(&self.table, subscriber, events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(number: usize) -> Range {
        Range::between(number << 12, (number + 1) << 12)
    }

    #[test]
    fn regions_come_and_go_without_a_tree() {
        let (manual, monitor) = Manual::open_unmatched().unwrap();
        let first = monitor.monitor(page(1), 1).unwrap();
        let second = monitor.monitor(page(1), 2).unwrap();
        assert!(monitor.is_valid(first) && monitor.is_valid(second));
        assert_eq!(manual.watched(), 2);
        monitor.unmonitor(first).unwrap();
        assert!(!monitor.is_valid(first) && monitor.is_valid(second));
        // The slot serves again, and the old name does not.
        let third = monitor.monitor(page(2), 3).unwrap();
        assert!(!monitor.is_valid(first) && monitor.is_valid(third));
        monitor.unmonitor(first).unwrap();
        assert!(monitor.is_valid(third));
        assert_eq!(manual.watched(), 2);
        drop(monitor);
        assert_eq!(manual.watched(), 0);
    }

    #[test]
    fn what_changes_is_announced_until_it_was_taken() {
        let (manual, monitor) = Manual::open().unwrap();
        assert_eq!(manual.capabilities(), Capabilities::UNMAP);
        assert!(manual.discards_are_ordered() && !manual.may_have_events());
        let region = monitor.monitor(page(1), 7).unwrap();
        let other = monitor.monitor(page(2), 8).unwrap();
        assert_eq!(manual.activity().regions, 2);
        let word = manual.word(other.name());
        assert!(word.is_some_and(|word| std::ptr::eq(word, other.word)));
        assert!(monitor.is_valid_name(region.name()));
        manual.change(page(1));
        assert!(!monitor.is_valid_name(region.name()) && monitor.is_valid_name(other.name()));
        assert!(manual.may_have_events() && manual.activity().regions == 1);
        let mut events = [Event::default(); 2];
        assert_eq!(monitor.drain(&mut events), Ok(1));
        assert_eq!((events[0].cookie, events[0].range), (7, Some(page(1))));
        assert!(!manual.may_have_events());
        let never = RegionName {
            slot: u32::MAX,
            ..other.name()
        };
        assert!(manual.word(never).is_none() && !monitor.is_valid_name(never));
        let (unordered, _monitor) = Manual::open_unordered(Box::new(|| ())).unwrap();
        assert!(!unordered.discards_are_ordered());
    }

    #[test]
    #[should_panic(expected = "knows no addresses")]
    fn without_a_tree_nothing_changes_by_address() {
        let (manual, _monitor) = Manual::open_unmatched().unwrap();
        manual.change(page(1));
    }
}
