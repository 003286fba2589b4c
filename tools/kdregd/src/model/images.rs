// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of `bpf/images.h`: one function, a task that goes through it and takes pages
//! away, whoever attaches programs there, kdregd, and a client who looks at any time. Never
//! does it take for valid what the task has taken since, and has left the function.
//!
//! The kernel makes one image after the other, under a lock. What programs and kdregd
//! share is written by full barriers, so interleaving is all there is to go through.

use super::reach;

/// Images: one that was there before, three of kdregd's own, two of somebody else's.
const IMAGES: usize = 6;
/// How often the task goes through the function.
const RUNS: u8 = 2;
/// How often somebody else attaches a program, or detaches it.
const OTHERS: u8 = 2;

/// A step that is left out, or done at the wrong time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// Another image does not have the guard held.
    NoHold,
    /// It is seen once it is in use.
    LateMade,
    /// It is seen gone when it is not in use any more, though somebody is inside by it.
    EarlyGone,
    /// kdregd does not have other images made behind its own.
    NoPass,
    /// It counts images before it depends on them, ...
    CountFirst,
    /// ... or lets go without counting them.
    NoCount,
    /// It looks at the guard's word once it has counted.
    LateWord,
    /// It lets go and leaves the number of losses as it is.
    LetGoUnchanged,
}

/// The task: outside, or inside by an image; whether it has taken the page by then.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Task {
    Outside,
    Inside(Option<u8>, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
struct Image {
    /// kdregd's program is part of it.
    ours: bool,
    /// Another is in use: what is at the end is passed over.
    retired: bool,
    /// The task was inside then, and is still.
    awaited: bool,
    /// By the program that sees images.
    seen: bool,
}

/// Who makes an image, and how far that has come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Making {
    Nobody,
    /// The program has counted it, and looks whether somebody depends on that next.
    Counted {
        image: u8,
        own: bool,
    },
    Made {
        image: u8,
        own: bool,
    },
    /// It is in use, and has not been seen (`LateMade`).
    InUse {
        image: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kdregd {
    /// It has had so many images made.
    Attaching(u8),
    /// It depends on there being one, and counts next.
    Depending,
    /// It has counted, and found one (`CountFirst`).
    Counted,
    /// It serves clients; ...
    Serving,
    /// ... has found the guard held, with this word; ...
    Word(u8),
    /// ... and one image.
    LettingGo(u8),
    /// It has counted and found one, and has not looked at the word (`LateWord`).
    One,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    task: Task,
    /// How many pages it has taken, and how often it has left.
    taken: u8,
    left: u8,
    images: [Image; IMAGES],
    made: u8,
    current: Option<u8>,
    making: Making,
    others: u8,
    depended: bool,
    losses: u8,
    held: bool,
    logged: u8,
    kdregd: Kdregd,
    /// What was taken, logged and lost when the client registered.
    client: Option<(u8, u8, u8)>,
}

impl State {
    fn new(before: bool) -> State {
        State {
            task: Task::Outside,
            taken: 0,
            left: 0,
            images: [Image::default(); IMAGES],
            made: 1,
            current: before.then_some(0),
            making: Making::Nobody,
            others: 0,
            depended: false,
            losses: 0,
            held: false,
            logged: 0,
            kdregd: Kdregd::Attaching(0),
            client: None,
        }
    }

    fn seen(&self) -> usize {
        self.images.iter().filter(|image| image.seen).count()
    }

    fn attached(&self) -> bool {
        self.kdregd != Kdregd::Attaching(0)
    }

    fn run(mut self) -> Option<State> {
        match self.task {
            Task::Outside if self.left == RUNS => return None,
            Task::Outside => self.task = Task::Inside(self.current, false),
            Task::Inside(image, false) => {
                self.taken += 1;
                self.task = Task::Inside(image, true);
            }
            Task::Inside(image, true) => {
                let by = image.map(|number| self.images[number as usize]);
                self.logged += u8::from(by.is_some_and(|by| by.ours && !by.retired));
                self.left += 1;
                self.task = Task::Outside;
                for image in &mut self.images {
                    image.awaited = false;
                }
            }
        }
        Some(self)
    }

    /// The program that sees one made, and has counted it.
    fn hold(&mut self, mutant: Mutant) {
        if self.depended && mutant != Mutant::NoHold {
            self.losses += 1;
            self.held = true;
        }
    }

    fn make(mut self, own: bool, mutant: Mutant) -> Option<State> {
        if self.making != Making::Nobody || (!own && self.others == OTHERS) {
            return None;
        }
        let image = self.made;
        self.made += 1;
        self.others += u8::from(!own);
        self.images[image as usize].ours = own || self.attached();
        // What sees them is attached before kdregd's first one is made.
        let sees = (own || self.attached()) && mutant != Mutant::LateMade;
        self.images[image as usize].seen = sees;
        self.making = match sees {
            true => Making::Counted { image, own },
            false => Making::Made { image, own },
        };
        Some(self)
    }

    /// It is in use, and the one before is not any more.
    fn switch(mut self, mutant: Mutant) -> Option<State> {
        let (image, own) = match self.making {
            Making::Nobody => return None,
            Making::Counted { image, own } => {
                self.hold(mutant);
                self.making = Making::Made { image, own };
                return Some(self);
            }
            Making::Made { image, own } => (image, own),
            Making::InUse { image } => {
                self.images[image as usize].seen = true;
                self.hold(mutant);
                self.making = Making::Nobody;
                return Some(self);
            }
        };
        self.making = match mutant {
            Mutant::LateMade if self.images[image as usize].ours => Making::InUse { image },
            _ => Making::Nobody,
        };
        if let Some(before) = self.current.replace(image) {
            let inside = self.task != Task::Outside;
            let before = &mut self.images[before as usize];
            before.retired = true;
            before.awaited = inside;
            before.seen &= mutant != Mutant::EarlyGone;
        }
        if own {
            if let Kdregd::Attaching(count) = &mut self.kdregd {
                *count += 1;
            }
        }
        Some(self)
    }

    /// One that nobody is inside by any more goes.
    fn free(mut self, number: usize) -> Option<State> {
        let image = &mut self.images[number];
        if !image.retired || image.awaited {
            return None;
        }
        image.seen = false;
        Some(self)
    }

    fn kdregd(mut self, mutant: Mutant) -> Option<State> {
        let images = if mutant == Mutant::NoPass { 1 } else { 3 };
        let one = self.seen() == 1;
        self.kdregd = match self.kdregd {
            Kdregd::Attaching(count) if count < images => return self.make(true, mutant),
            Kdregd::Attaching(_) if mutant == Mutant::CountFirst => match one {
                true => Kdregd::Counted,
                false => return None,
            },
            Kdregd::Counted => {
                self.depended = true;
                Kdregd::Serving
            }
            Kdregd::Attaching(_) => {
                self.depended = true;
                Kdregd::Depending
            }
            Kdregd::Depending if one => Kdregd::Serving,
            Kdregd::Depending => {
                self.depended = false;
                Kdregd::Attaching(images)
            }
            Kdregd::Serving if !self.held => return None,
            Kdregd::Serving if mutant == Mutant::LateWord && one => Kdregd::One,
            Kdregd::Serving | Kdregd::One => Kdregd::Word(self.losses),
            Kdregd::Word(word) if one || matches!(mutant, Mutant::NoCount | Mutant::LateWord) => {
                Kdregd::LettingGo(word)
            }
            // At the next look.
            Kdregd::Word(_) => Kdregd::Serving,
            Kdregd::LettingGo(word) => {
                if word == self.losses {
                    self.held = false;
                    self.losses += u8::from(mutant != Mutant::LetGoUnchanged);
                }
                Kdregd::Serving
            }
        };
        Some(self)
    }

    fn register(mut self) -> Option<State> {
        let not_yet = matches!(
            self.kdregd,
            Kdregd::Attaching(_) | Kdregd::Depending | Kdregd::Counted
        );
        if not_yet {
            return None;
        }
        self.client = Some((self.taken, self.logged, self.losses));
        Some(self)
    }

    /// Whether the client takes for valid what is not.
    fn is_stale(&self) -> bool {
        let Some((taken, logged, losses)) = self.client else {
            return false;
        };
        let valid = !self.held && logged == self.logged && losses == self.losses;
        valid && self.left > taken
    }
}

/// Goes through all there is; how many states there are, or the fault.
fn explore(mutant: Mutant) -> Result<usize, Box<State>> {
    reach([false, true].map(State::new), |state| {
        if state.is_stale() {
            return Err(Box::new(state));
        }
        let frees = (0..IMAGES).map(|number| state.free(number));
        let next = [
            state.run(),
            state.make(false, mutant),
            state.switch(mutant),
            state.kdregd(mutant),
            state.register(),
        ];
        Ok(next.into_iter().chain(frees).flatten().collect())
    })
}

#[test]
fn what_is_passed_over_is_not_taken_for_valid() {
    let states = explore(Mutant::None).expect("a change was lost");
    assert!(states > 10_000, "{states} states");
}

#[test]
fn every_step_of_it_is_needed() {
    for mutant in [
        Mutant::NoHold,
        Mutant::LateMade,
        Mutant::EarlyGone,
        Mutant::NoPass,
        Mutant::CountFirst,
        Mutant::NoCount,
        Mutant::LateWord,
        Mutant::LetGoUnchanged,
    ] {
        assert!(explore(mutant).is_err(), "{mutant:?} was not found");
    }
}
