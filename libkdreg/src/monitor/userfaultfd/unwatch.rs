// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a watch ends: mappings in which nothing is monitored any more are let go,
//! as a whole, as they were watched.

use super::mappings::everything;
use super::registered::Instant;
use super::space::Space;
use super::watching::{Watches, Watching};
use crate::range::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// When a mapping in which nothing is monitored any more is to be let go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Now, where that is cheap.
    Now,
    /// Soon: it may well be watched again before.
    Soon,
}

/// A mapping in which nothing is monitored any more is let go after `REST`
/// milliseconds: letting go walks the page tables (some 130 ns a page), and a
/// buffer that is used again and again would pay for it, and for being watched
/// anew, each time. At once, when it is at most `SMALL` bytes, where nothing says
/// that it will be.
const SMALL: usize = 1 << 20;
const REST: Instant = 50;

/// As a time to wait.
pub(in crate::monitor) const REST_TIME: Duration = Duration::from_millis(REST);

/// Milliseconds after which whoever comes by sees to it that mappings are let
/// go, although nobody asked.
const LONG: Instant = 20 * REST;

/// Time since some moment in the past.
fn clock(which: libc::clockid_t) -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to a local variable. The clocks asked for are always there.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Milliseconds, by a clock that is cheap to ask.
pub(super) fn now() -> Instant {
    clock(libc::CLOCK_MONOTONIC_COARSE).as_millis() as Instant
}

impl<S: Space> Watching<S> {
    /// Ends the watch of the mappings that held `range`, a region that is gone,
    /// unless another one needs them: at once or soon.
    pub(super) fn unwatch(&self, range: Range, when: When) {
        if self.is_dead() {
            return;
        }
        let mut watches = self.watches.lock();
        self.take_in_disturbances(&mut watches);
        let now = now();
        let mut from = range.start();
        while from < range.end() {
            let Some(listed) = watches.registered.find(Range::between(from, range.end())) else {
                break;
            };
            self.idle_unless_used(&mut watches, listed, now, when);
            from = listed.end();
        }
        // Where nobody else does it.
        self.let_go_idle(&mut watches, now.saturating_sub(LONG));
    }

    /// Lets a listed mapping go, or notes that it can be, unless something in it
    /// is monitored.
    pub(super) fn idle_unless_used(
        &self,
        watches: &mut Watches,
        listed: Range,
        now: Instant,
        when: When,
    ) {
        if self.events.table.watches(listed) {
            return;
        }
        if when == When::Now && listed.len() <= SMALL {
            self.release(watches, listed);
            return;
        }
        if !watches.registered.any_idle() {
            // Relaxed: a hint to look; what is idle is behind the lock.
            self.begins_to_rest.store(true, Ordering::Relaxed);
        }
        watches.registered.set_idle(listed.start(), now);
    }

    /// Lets go the mappings that have been idle since `until`.
    pub(super) fn let_go_idle(&self, watches: &mut Watches, until: Instant) {
        while let Some(idle) = watches.registered.longest_idle(until) {
            self.release(watches, idle);
        }
    }

    /// Lets go idle mappings: those that rested long enough, or all of them while
    /// there is time for it; whether there are any left.
    pub(super) fn let_go_of(&self, all: bool) -> bool {
        if self.is_dead() {
            return false;
        }
        let mut watches = self.watches.lock();
        self.take_in_disturbances(&mut watches);
        let mut time = clock(libc::CLOCK_MONOTONIC);
        while all && watches.budget.any(time) {
            let Some(idle) = watches.registered.longest_idle(Instant::MAX) else {
                break;
            };
            self.release(&mut watches, idle);
            let begun = std::mem::replace(&mut time, clock(libc::CLOCK_MONOTONIC));
            watches.budget.spend(time.saturating_sub(begun));
        }
        self.let_go_idle(&mut watches, now().saturating_sub(REST));
        watches.registered.any_idle()
    }

    /// Unregisters what is listed as `listed`, whatever has become of it, but not
    /// what is monitored by now.
    fn release(&self, watches: &mut Watches, listed: Range) {
        watches.registered.take(listed);
        let mut rest = Some(listed);
        while let Some(range) = rest {
            let (mapping, ours) = match self.look_at_first(range) {
                Ok(Some(found)) => found,
                Ok(None) => return,
                Err(_) => return watches.registered.doubt(range),
            };
            rest = range.after(mapping.end());
            if !ours {
                continue;
            }
            // Whole, and so perhaps more than was listed: it may have grown.
            if self.events.table.watches(mapping) {
                if watches.registered.reserve().is_ok() {
                    watches.registered.insert(mapping);
                }
                continue;
            }
            self.space.unregister(mapping);
            watches.registered.forget(mapping);
            self.release_rest(watches, mapping);
        }
    }

    /// Lets go what `mapping`, which was let go just now, had grown by meanwhile: it
    /// would stay registered, and a mapping of its own.
    fn release_rest(&self, watches: &mut Watches, mapping: Range) {
        let Ok(now) = self.space.at(mapping.start()) else {
            return;
        };
        for rest in self.possible_parts(watches, &now).into_iter().flatten() {
            let Ok(Some((rest, true))) = self.look_at_first(rest) else {
                continue;
            };
            if !self.events.table.watches(rest) {
                self.space.unregister(rest);
                watches.registered.forget(rest);
            } else if watches.registered.reserve().is_ok() {
                watches.registered.insert(rest);
            }
        }
    }

    /// Unregisters everything, wherever mremap may have carried it.
    pub(super) fn unregister_everything(&self) {
        let mut watches = self.watches.lock();
        // Twice: a mapping may move behind the first pass.
        for _ in 0..2 {
            self.take_in_disturbances(&mut watches);
            while let Some(listed) = watches.registered.find(everything()) {
                self.release(&mut watches, listed);
                // Nothing is monitored any more; what cannot be let go is the
                // business of the descriptor's closing.
                while watches.registered.take(listed).is_some() {}
            }
        }
    }
}
