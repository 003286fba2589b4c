// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is watched, tried on a model of an address space: a few pages, which other
//! threads map, unmap and move, before and after each question that is asked of it,
//! and whose events are read some time later. At all times every page of a region
//! that was confirmed, and is valid, is registered here, or the event that will mark
//! it is on its way: a change that comes then has an event, or is found in flight.

mod tried;

use super::handler::Events;
use super::mappings::Mapping;
use super::space::Space;
use crate::errno::Errno;
use crate::memory::Share;
use crate::monitor::Reason;
use crate::range::{Range, page_size};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;

/// Pages there are, the first of them, and how many a change takes at most.
const PAGES: usize = 12;
const FIRST: usize = 64;
const MOST: usize = 4;

/// Questions for which it may be believed that what was registered is not another's.
const BELIEVED: u64 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Watcher {
    Nobody,
    Us,
    Another,
}

/// What the kernel knows of a page that is mapped, and where a mapping ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Page {
    /// What can be told from outside, and what cannot: mappings that differ in
    /// either stay apart.
    access: u8,
    hidden: u8,
    watcher: Watcher,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kernel {
    Queried,
    Looks,
    Blind,
}

struct Confirmed {
    slot: u32,
    generation: u32,
    first: usize,
    count: usize,
}

struct World {
    pages: [Option<Page>; PAGES],
    /// Questions asked, and at which a page was registered last.
    asked: u64,
    registered: [u64; PAGES],
    /// Events that nobody has read: of a move, where from and where to.
    in_flight: VecDeque<(Vec<(usize, usize)>, Reason)>,
    confirmed: Vec<Confirmed>,
    seed: u64,
    /// Nobody interferes any more.
    calm: bool,
    /// What this kernel can be asked: Linux 6.11, 6.7, or before.
    kernel: Kernel,
    events: Share<Events>,
}

fn range(first: usize, count: usize) -> Range {
    let start = (FIRST + first) * page_size();
    Range::between(start, start + count * page_size())
}

/// First page and count, of what of a range there is.
fn pages(range: Range) -> (usize, usize) {
    let page = |address: usize| (address / page_size()).clamp(FIRST, FIRST + PAGES) - FIRST;
    let first = page(range.start());
    (first, page(range.end()) - first)
}

fn overlap(first: (usize, usize), second: (usize, usize)) -> bool {
    first.0 < second.0 + second.1 && second.0 < first.0 + first.1
}

impl World {
    fn any(&mut self, below: usize) -> usize {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed % below as u64) as usize
    }

    fn some_pages(&mut self) -> (usize, usize) {
        let count = 1 + self.any(MOST);
        (self.any(PAGES - count + 1), count)
    }

    fn take_away(&mut self, (first, count): (usize, usize)) {
        let gone = self.pages[first..first + count].iter_mut();
        let watched = gone.fold(false, |watched, page| {
            watched | page.take().is_some_and(|page| page.watcher == Watcher::Us)
        });
        if watched {
            self.in_flight
                .push_back((vec![(first, count)], Reason::Unmap));
        }
    }

    /// What another thread may do.
    fn interfere(&mut self) {
        self.check();
        let (first, count) = self.some_pages();
        match self.any(12) {
            0 => self.take_away((first, count)),
            1..5 => {
                self.take_away((first, count));
                let page = Page {
                    access: self.any(8) as u8 / 7,
                    hidden: self.any(8) as u8 / 7,
                    watcher: Watcher::Nobody,
                };
                self.pages[first..first + count].fill(Some(page));
            }
            5 => {
                // mremap: of one mapping, and what watches it goes with it.
                let page = self.pages[first];
                let to = self.any(PAGES - count + 1);
                let one = self.pages[first..first + count]
                    .iter()
                    .all(|&it| it == page);
                if page.is_none() || !one || overlap((first, count), (to, count)) {
                    return;
                }
                self.take_away((to, count));
                self.pages[first..first + count].fill(None);
                self.pages[to..to + count].fill(page);
                if page.is_some_and(|page| page.watcher == Watcher::Us) {
                    let both = vec![(first, count), (to, count)];
                    self.in_flight.push_back((both, Reason::Remap));
                }
            }
            6 => {
                // Another userfaultfd, of the application.
                for page in self.pages[first..first + count].iter_mut().flatten() {
                    page.watcher = match page.watcher {
                        Watcher::Nobody => Watcher::Another,
                        Watcher::Another => Watcher::Nobody,
                        Watcher::Us => Watcher::Us,
                    };
                }
            }
            _ => self.read_event(),
        }
        self.check();
    }

    /// The handler reads an event, and marks.
    fn read_event(&mut self) {
        let which = match self.in_flight.len() {
            0 => return,
            // Those of different threads come in any order.
            count => self.any(count),
        };
        let Some((changed, reason)) = self.in_flight.remove(which) else {
            return;
        };
        let changed = changed.iter().map(|&(first, count)| range(first, count));
        changed.clone().for_each(|it| self.events.removals.note(it));
        changed.for_each(|it| self.events.table.invalidate(it, reason));
    }

    fn is_valid(&self, region: &Confirmed) -> bool {
        let word = self.events.table.words().at(region.slot);
        word.load(Ordering::Relaxed) == region.generation
    }

    fn check(&self) {
        if self.kernel == Kernel::Blind {
            return; // see `confirm`
        }
        for region in self.confirmed.iter().filter(|it| self.is_valid(it)) {
            let its = (region.first, region.count);
            let mut coming = self.in_flight.iter().flat_map(|(changed, _)| changed);
            let on_its_way = coming.any(|&it| overlap(it, its));
            let ours = |page: &Option<Page>| page.is_some_and(|it| it.watcher == Watcher::Us);
            let registered = self.pages[its.0..its.0 + its.1].iter().all(ours);
            assert!(
                on_its_way || registered,
                "{its:?} is valid, and not watched: {:?}",
                self.pages
            );
        }
    }
}

struct Model(RefCell<World>);

impl Model {
    /// Asks, and lets others run before and after.
    fn ask<T>(&self, question: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.borrow_mut();
        let interfere = |world: &mut World| {
            while !world.calm && world.any(4) == 0 {
                world.interfere();
            }
        };
        interfere(&mut world);
        world.asked += 1;
        let answer = question(&mut world);
        interfere(&mut world);
        answer
    }
}

impl Space for Model {
    fn from(&self, address: usize) -> Result<Option<Mapping>, Errno> {
        self.ask(|world| {
            let (from, _) = pages(Range::between(address, address + 1));
            let first = if address < range(0, 1).start() {
                0
            } else {
                from
            };
            let Some(found) = (first..PAGES).find(|&n| world.pages[n].is_some()) else {
                return Ok(None);
            };
            let page = world.pages[found];
            let same = |n: &usize| world.pages[*n] == page;
            let start = (0..=found).rev().take_while(same).last().unwrap_or(found);
            let count = (start..PAGES).take_while(same).count();
            let access = page.map_or(0, |page| page.access);
            Ok(Some(Mapping::modelled(range(start, count), access)))
        })
    }

    fn is_quickly_asked(&self) -> bool {
        self.0.borrow().kernel == Kernel::Queried
    }

    fn check_mapped(&self, range: Range) -> Result<(), Errno> {
        self.ask(|world| {
            let (first, count) = pages(range);
            let mapped = world.pages[first..first + count]
                .iter()
                .all(Option::is_some);
            if mapped { Ok(()) } else { Err(Errno::EFAULT) }
        })
    }

    fn register(&self, range: Range) -> Result<(), Errno> {
        self.ask(|world| {
            let (first, count) = pages(range);
            let mut there = world.pages[first..first + count].iter_mut().flatten();
            if there.any(|page| page.watcher == Watcher::Another) {
                return Err(Errno::EBUSY);
            }
            let there = world.pages[first..first + count].iter_mut().flatten();
            let registered = there.map(|page| page.watcher = Watcher::Us).count();
            if registered > 0 {
                let asked = world.asked;
                world.registered[first..first + count].fill(asked);
                Ok(())
            } else {
                Err(Errno::EINVAL)
            }
        })
    }

    fn unregister(&self, range: Range) {
        self.ask(|world| {
            let (first, count) = pages(range);
            for number in first..first + count {
                let Some(page) = &mut world.pages[number] else {
                    continue;
                };
                // Linux before 6.17 or so does not ask whose it is.
                let since = world.asked - world.registered[number];
                assert!(
                    page.watcher != Watcher::Another || since <= BELIEVED,
                    "page {number} is another's, and was not asked about for {since} questions"
                );
                page.watcher = Watcher::Nobody;
            }
        });
    }

    fn can_look(&self) -> bool {
        self.0.borrow().kernel != Kernel::Blind
    }

    fn fully_watched(&self, range: Range) -> Result<bool, Errno> {
        self.ask(|world| {
            let (first, count) = pages(range);
            let watched =
                |page: &Option<Page>| page.is_some_and(|it| it.watcher != Watcher::Nobody);
            Ok(world.pages[first..first + count].iter().all(watched))
        })
    }
}
