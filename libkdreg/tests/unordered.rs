// SPDX-License-Identifier: MIT OR Apache-2.0
//! Discards whose pages go some time after they were announced, as with
//! userfaultfd: no lookup finds a registration over pages that are gone,
//! although nothing tells when they go, as long as nobody asks for a page while
//! it is being discarded.
//!
//! Everything happens in one thread: what other threads would do meanwhile is
//! done in the middle of a miss, before and after its region is armed and inside
//! its registration.

use kdreg::cache::{Cache, Handle, Held, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, Weak};

const PAGE: usize = 4096;
const PAGES: usize = 24;
const BASE: usize = 1 << 36;

/// How deep misses are begun inside each other.
const DEPTH: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    Get(Range, u32),
    /// Announces the discard of pages that nobody is asking for.
    Announce(Range),
    /// Has the pages of a discard go that was announced.
    Take(usize),
    /// So many steps belong into the next pauses of a miss, each.
    Inside(usize),
}

#[derive(Default)]
struct Story {
    steps: VecDeque<Step>,
    inside: usize,
    depth: usize,
    /// What is mapped at each page.
    frames: [usize; PAGES],
    /// Discards that were announced and have not taken their pages.
    announced: Vec<Range>,
    /// What gets under way ask for.
    asked: Vec<Range>,
    /// What was pinned, by handle.
    pinned: Vec<[usize; PAGES]>,
}

struct Teller {
    cache: OnceLock<Cache>,
    /// Announces a discard.
    announce: OnceLock<Box<dyn Fn(Range) + Send + Sync>>,
    story: Mutex<Story>,
}

struct Shared(Weak<Teller>);

impl Registrar for Shared {
    fn register(&self, _range: Range, _access: u32) -> Result<Handle, Errno> {
        let teller = self.0.upgrade().unwrap();
        let handle = {
            let mut story = teller.story.lock().unwrap();
            let frames = story.frames;
            story.pinned.push(frames);
            story.pinned.len() - 1
        };
        teller.meanwhile();
        Ok(Handle(handle))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

fn pages(range: Range) -> std::ops::Range<usize> {
    (range.start() - BASE) / PAGE..(range.end() - BASE) / PAGE
}

impl Teller {
    /// What others do in a pause of a miss.
    fn meanwhile(&self) {
        let inside = {
            let mut story = self.story.lock().unwrap();
            story.depth += 1;
            if story.depth < DEPTH { story.inside } else { 0 }
        };
        (0..inside).for_each(|_| self.step());
        self.story.lock().unwrap().depth -= 1;
    }

    fn step(&self) {
        let mut story = self.story.lock().unwrap();
        match story.steps.pop_front() {
            None => {}
            Some(Step::Inside(count)) => story.inside = count,
            // Nobody discards what is being asked for.
            Some(Step::Announce(range))
                if story.asked.iter().any(|asked| asked.overlaps(range)) => {}
            Some(Step::Announce(range)) => {
                story.announced.push(range);
                drop(story);
                self.announce.get().unwrap()(range);
            }
            Some(Step::Take(which)) => {
                if let Some(last) = story.announced.len().checked_sub(1) {
                    let range = story.announced.remove(which.min(last));
                    pages(range).for_each(|page| story.frames[page] += 1);
                }
            }
            Some(Step::Get(range, access)) => {
                if story.announced.iter().any(|gone| gone.overlaps(range)) {
                    return;
                }
                story.asked.push(range);
                drop(story);
                let held = self.cache.get().unwrap().get(range, access).unwrap();
                self.look_at(&held, range);
                drop(held);
                self.story.lock().unwrap().asked.pop();
            }
        }
    }

    fn look_at(&self, held: &Held<'_>, range: Range) {
        let story = self.story.lock().unwrap();
        assert!(held.range().contains(range));
        let pinned = &story.pinned[held.handle().0];
        assert!(
            pages(range).all(|page| pinned[page] == story.frames[page]),
            "{:?} was found for {range:?}, and pages of it are gone",
            held.range()
        );
    }
}

fn ranges(longest: usize) -> impl Strategy<Value = Range> {
    (0..PAGES, 1..=longest).prop_map(|(first, count)| {
        let count = count.min(PAGES - first);
        Range::new(BASE + first * PAGE, count * PAGE).unwrap()
    })
}

fn steps() -> impl Strategy<Value = VecDeque<Step>> {
    let step = prop_oneof![
        8 => (ranges(5), 1u32..4).prop_map(|(range, access)| Step::Get(range, access)),
        4 => ranges(3).prop_map(Step::Announce),
        4 => (0usize..4).prop_map(Step::Take),
        4 => (0usize..3).prop_map(Step::Inside),
    ];
    prop::collection::vec(step, 1..200).prop_map(VecDeque::from)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_found_is_there(
        steps in steps(),
        no_merge in prop_oneof![3 => Just(false), 1 => Just(true)],
        max_entries in prop_oneof![Just(1000usize), 1usize..6],
        max_merge in prop_oneof![Just(0usize), Just(4 * PAGE)],
        alignment in prop_oneof![Just(0usize), Just(8 * PAGE)],
    ) {
        let count = steps.len();
        let teller = Arc::new(Teller {
            cache: OnceLock::new(),
            announce: OnceLock::new(),
            story: Mutex::new(Story { steps, ..Story::default() }),
        });
        let between = {
            let teller = Arc::downgrade(&teller);
            move || teller.upgrade().unwrap().meanwhile()
        };
        let (manual, monitor) = Manual::open_unordered(Box::new(between)).unwrap();
        let announce = move |range| manual.change(range);
        teller.announce.get_or_init(|| Box::new(announce));
        let options = Options { no_merge, max_entries, max_merge, alignment, no_reaper: true, ..Options::default() };
        let cache = Cache::new(&monitor, options, Box::new(Shared(Arc::downgrade(&teller)))).unwrap();
        let cache = teller.cache.get_or_init(|| cache);
        (0..count).for_each(|_| teller.step());
        let counts = cache.statistics().unwrap();
        prop_assert_eq!(counts.in_use, 0);
        prop_assert_eq!(counts.registrations, counts.deregistrations + counts.entries);
    }
}
