// SPDX-License-Identifier: MIT OR Apache-2.0
//! Invalidations and flushes while registrations are being made: what was begun
//! before one of them is never found after it.
//!
//! Everything happens in one thread, the rest of it inside the registrations:
//! each `register` first notes when it was begun, then goes on with the script,
//! gets of its own included, as other threads would meanwhile.

use kdreg::cache::{Cache, Handle, Held, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};

const PAGE: usize = 4096;

/// How deep registrations are begun inside each other.
const DEPTH: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Get(Range),
    Find(Range),
    Invalidate(Range),
    Flush,
    /// So many steps belong into the next registration, if one is made.
    Inside(usize),
}

#[derive(Default)]
struct Story {
    steps: VecDeque<Step>,
    inside: usize,
    depth: usize,
    /// Counts everything that happens.
    clock: usize,
    /// When each registration was begun, by its handle, and of what.
    begun: Vec<(usize, Range)>,
    /// When it was said of what that it changed.
    changes: Vec<(usize, Range)>,
}

struct Teller {
    cache: OnceLock<Cache>,
    story: Mutex<Story>,
}

struct Shared(Weak<Teller>);

impl Registrar for Shared {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let teller = self.0.upgrade().unwrap();
        let (handle, inside) = {
            let mut story = teller.story.lock().unwrap();
            story.clock += 1;
            let begun = (story.clock, range);
            story.begun.push(begun);
            story.depth += 1;
            let inside = if story.depth < DEPTH { story.inside } else { 0 };
            story.inside = 0;
            (story.begun.len() - 1, inside)
        };
        (0..inside).for_each(|_| teller.step());
        teller.story.lock().unwrap().depth -= 1;
        Ok(Handle(handle))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

impl Teller {
    fn step(&self) {
        let step = self.story.lock().unwrap().steps.pop_front();
        let cache = self.cache.get().unwrap();
        match step {
            None => {}
            Some(Step::Inside(count)) => self.story.lock().unwrap().inside = count,
            Some(Step::Get(range)) => {
                let since = self.story.lock().unwrap().clock;
                self.look_at(&cache.get(range, 1).unwrap(), range, since);
            }
            Some(Step::Find(range)) => {
                if let Ok(held) = cache.find(range, 1) {
                    self.look_at(&held, range, usize::MAX);
                }
            }
            Some(Step::Invalidate(range)) => {
                cache.invalidate(range).unwrap();
                self.note_change(range);
            }
            Some(Step::Flush) => {
                cache.flush().unwrap();
                self.note_change(Range::new(0, 1 << 60).unwrap());
            }
        }
    }

    fn note_change(&self, range: Range) {
        let mut story = self.story.lock().unwrap();
        story.clock += 1;
        let change = (story.clock, range);
        story.changes.push(change);
    }

    /// Changes later than `since` are not held against what was got.
    fn look_at(&self, held: &Held<'_>, range: Range, since: usize) {
        let story = self.story.lock().unwrap();
        let (begun, registered) = story.begun[held.handle().0];
        assert!(registered.contains(range));
        for &(when, what) in &story.changes {
            assert!(
                when < begun || when > since || !what.overlaps(registered),
                "{registered:?}, begun at {begun}, was found after {what:?} changed at {when}"
            );
        }
    }
}

fn ranges() -> impl Strategy<Value = Range> {
    (0usize..12, 1usize..5)
        .prop_map(|(first, count)| Range::new((1 << 36) + first * PAGE, count * PAGE).unwrap())
}

fn steps() -> impl Strategy<Value = VecDeque<Step>> {
    let step = prop_oneof![
        6 => ranges().prop_map(Step::Get),
        4 => ranges().prop_map(Step::Find),
        2 => ranges().prop_map(Step::Invalidate),
        1 => Just(Step::Flush),
        6 => (1usize..5).prop_map(Step::Inside),
    ];
    prop::collection::vec(step, 1..120).prop_map(VecDeque::from)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2048,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_was_begun_before_is_not_found_after(
        steps in steps(),
        no_merge in any::<bool>(),
        max_entries in prop_oneof![Just(1000usize), 1usize..4],
        alignment in prop_oneof![Just(0usize), Just(4 * PAGE)],
    ) {
        let (_manual, monitor) = Manual::open().unwrap();
        let options = Options { no_merge, max_entries, alignment, no_reaper: true, ..Options::default() };
        let count = steps.len();
        let teller = Arc::new(Teller {
            cache: OnceLock::new(),
            story: Mutex::new(Story { steps, ..Story::default() }),
        });
        let cache = Cache::new(&monitor, options, Box::new(Shared(Arc::downgrade(&teller)))).unwrap();
        let cache = teller.cache.get_or_init(|| cache);
        (0..count).for_each(|_| teller.step());
        let counts = cache.statistics().unwrap();
        prop_assert_eq!(counts.in_use, 0);
        prop_assert_eq!(counts.registrations, counts.deregistrations + counts.entries);
    }
}
