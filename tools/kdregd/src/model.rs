// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of the guard (`bpf/guard.h`, `bpf/scheduler.h`): every interleaving of
//! some tasks on one processor, which may be switched away from at any
//! instruction, with a client on another processor who looks at any time. Never
//! does it take a change for none that has been made and missed.
//!
//! What the processor's tasks share is touched by that processor alone, one
//! instruction at a time, so interleaving is all there is to go through; guard and
//! log, which others read, are written by full barriers.

use std::collections::HashSet;

/// Programs: two, so that one can be left while a task is inside the other.
const PROGRAMS: usize = 2;
/// The programs that each task runs, one after the other, by what it does.
const TASKS: [&[usize]; 3] = [&[0, 1], &[0], &[1]];

/// A step of the protocol that is left out, or done at the wrong time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mutant {
    None,
    /// A switch inside a program goes unnoticed.
    NoRaise,
    /// Losses are not told from no losses.
    NoLoss,
    /// The count is lowered first, and losses are published behind it.
    LateLoss,
    /// Whoever leaves ends an uncertainty though there was a switch since it looked.
    NoRetry,
    /// Whoever leaves does not look whether others are inside.
    NoLook,
    /// The scheduler forgets about a switch that follows another.
    LowerAtOnce,
    /// The scheduler does not watch over one of the programs.
    Unwatched,
}

/// Where a task is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    /// Before the program of its next change.
    Outside,
    /// The kernel has counted it in, and another was there: a miss to be counted.
    Missing,
    /// About to log.
    Inside,
    /// leave(): is the processor uncertain?
    Leaving,
    /// Is anybody else inside? One program's count at a time.
    Looking(usize),
    /// How many misses there are.
    Counting,
    /// How many there were.
    Comparing(u8),
    /// Ends it.
    Ending(bool),
    /// Adds to the guard: whether something was lost.
    Adding(bool),
    /// `LateLoss`: adds what was lost.
    AddingLate,
    /// The kernel counts it out.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Task {
    at: At,
    /// Runs that have ended, and that have begun.
    ended: u8,
    begun: u8,
    /// It has read the number of an uncertainty, which is still the same. (Instead
    /// of the number itself, which grows without bound.)
    fresh: bool,
    /// Entries of its log: each task is a client of its own.
    logged: u8,
    /// Its region was registered when this many runs had begun, ...
    begun_at: u8,
    /// ... its log was that long, ...
    logged_at: u8,
    /// ... and this is the guard's word that its client remembers.
    word: (u8, u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    tasks: [Task; TASKS.len()],
    current: usize,
    active: [u8; PROGRAMS],
    misses: u8,
    uncertain: bool,
    misses_at: u8,
    /// Losses, and processors that are uncertain.
    guard: (u8, u8),
}

impl State {
    fn new() -> State {
        let task = Task {
            at: At::Outside,
            ended: 0,
            begun: 0,
            fresh: false,
            logged: 0,
            begun_at: 0,
            logged_at: 0,
            word: (0, 0),
        };
        State {
            tasks: [task; TASKS.len()],
            current: 0,
            active: [0; PROGRAMS],
            misses: 0,
            uncertain: false,
            misses_at: 0,
            guard: (0, 0),
        }
    }

    /// The number of the uncertainty changes: whoever remembers it finds out.
    fn renumber(&mut self) {
        for task in &mut self.tasks {
            task.fresh = false;
        }
    }

    /// The scheduler's program: in one go, as interrupts are off.
    fn switch(mut self, to: usize, mutant: Mutant) -> State {
        let watched = match mutant {
            Mutant::Unwatched => &self.active[..1],
            _ => &self.active[..],
        };
        let inside = watched.iter().any(|count| *count != 0);
        if self.uncertain {
            self.renumber();
            if !inside || mutant == Mutant::LowerAtOnce {
                let lost = self.misses != self.misses_at && mutant != Mutant::NoLoss;
                self.uncertain = false;
                self.guard.0 += u8::from(lost);
                self.guard.1 -= 1;
            }
        } else if inside && mutant != Mutant::NoRaise {
            self.misses_at = self.misses;
            self.uncertain = true;
            self.guard.1 += 1;
        }
        self.current = to;
        self
    }

    /// The current task's next instruction; `None`: it has no more.
    fn step(mut self, mutant: Mutant) -> Option<State> {
        let number = self.current;
        let mut task = self.tasks[number];
        let program = *TASKS[number].get(task.ended as usize)?;
        task.at = match task.at {
            At::Outside => {
                task.begun += 1;
                self.active[program] += 1;
                if self.active[program] == 1 {
                    At::Inside
                } else {
                    At::Missing
                }
            }
            At::Missing => {
                self.misses += 1;
                At::Done
            }
            At::Inside => {
                task.logged += 1;
                At::Leaving
            }
            At::Leaving if !self.uncertain => At::Done,
            At::Leaving => {
                task.fresh = true;
                if mutant == Mutant::NoLook {
                    At::Counting
                } else {
                    At::Looking(0)
                }
            }
            At::Looking(PROGRAMS) => At::Counting,
            At::Looking(other) => {
                if self.active[other] == u8::from(other == program) {
                    At::Looking(other + 1)
                } else {
                    At::Done
                }
            }
            At::Counting => At::Comparing(self.misses),
            At::Comparing(misses) => At::Ending(misses != self.misses_at),
            At::Ending(lost) => {
                if task.fresh || (mutant == Mutant::NoRetry && self.uncertain) {
                    self.uncertain = false;
                    self.renumber();
                    At::Adding(lost && mutant != Mutant::NoLoss)
                } else {
                    At::Done
                }
            }
            At::Adding(lost) => {
                self.guard.1 -= 1;
                if lost && mutant == Mutant::LateLoss {
                    At::AddingLate
                } else {
                    self.guard.0 += u8::from(lost);
                    At::Done
                }
            }
            At::AddingLate => {
                self.guard.0 += 1;
                At::Done
            }
            At::Done => {
                self.active[program] -= 1;
                task.ended += 1;
                At::Outside
            }
        };
        // Remembered while it is inside leave() alone.
        task.fresh &= matches!(
            task.at,
            At::Looking(_) | At::Counting | At::Comparing(_) | At::Ending(_)
        );
        self.tasks[number] = task;
        Some(self)
    }

    /// The client of a task looks, from another processor, and registers anew what
    /// is not valid any more. `Err`: it took a region for valid though a run that
    /// began after it had been registered has ended. (A run that had begun by then
    /// is of a change that has been made, or that another run follows.)
    fn look(mut self, number: usize) -> Result<State, State> {
        let task = &mut self.tasks[number];
        if self.guard.1 != 0 {
            // Not valid now; it may be again.
            return Ok(self);
        }
        let valid = self.guard == task.word && task.logged == task.logged_at;
        if valid && task.ended > task.begun_at {
            return Err(self);
        }
        if !valid {
            task.word = self.guard;
            task.begun_at = task.begun;
            task.logged_at = task.logged;
        }
        Ok(self)
    }
}

/// Goes through all there is; how many states there are, or the fault.
fn explore(mutant: Mutant) -> Result<usize, Box<State>> {
    let mut seen = HashSet::from([State::new()]);
    let mut left = vec![State::new()];
    while let Some(state) = left.pop() {
        let mut next: Vec<State> = Vec::new();
        next.extend(state.step(mutant));
        for number in 0..TASKS.len() {
            if number != state.current {
                next.push(state.switch(number, mutant));
            }
            next.push(state.look(number).map_err(Box::new)?);
        }
        left.extend(next.into_iter().filter(|state| seen.insert(*state)));
    }
    Ok(seen.len())
}

#[test]
fn no_change_is_lost_without_a_trace() {
    let states = explore(Mutant::None).expect("a change was lost");
    // It has been somewhere.
    assert!(states > 10_000, "{states} states");
}

#[test]
fn every_step_is_needed() {
    for mutant in [
        Mutant::NoRaise,
        Mutant::NoLoss,
        Mutant::LateLoss,
        Mutant::NoRetry,
        Mutant::NoLook,
        Mutant::LowerAtOnce,
        Mutant::Unwatched,
    ] {
        assert!(explore(mutant).is_err(), "{mutant:?} was not found");
    }
}
