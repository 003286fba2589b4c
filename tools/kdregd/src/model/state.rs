// SPDX-License-Identifier: MIT OR Apache-2.0
//! What there is in the model, and each step that it may take.

use super::{Change, Mutant, PROGRAMS, Plan, Write};

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
    /// How many there were: of all, and of `ENDS`.
    Comparing(u8, u8),
    /// Ends it: whether something was lost, and whether what sees programs go was.
    Ending(bool, bool),
    /// Another loss, before the guard is held, ...
    Raising,
    /// ... and holds it.
    Holding(bool),
    /// Adds to the guard: whether something was lost.
    Adding(bool),
    /// `LateLoss`: adds what was lost.
    AddingLate,
    /// The kernel counts it out.
    Done,
    /// It does what was written to kernel.ftrace_enabled.
    Switching,
}

/// Where kdregd is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kdregd {
    Idle,
    /// About to read kernel.ftrace_enabled: the guard's word was this.
    Reading((u8, u8)),
    /// `LateWord`: it has been read.
    Read,
    /// About to let go.
    LettingGo((u8, u8)),
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
pub struct State {
    tasks: [Task; 3],
    pub current: usize,
    active: [u8; PROGRAMS],
    /// Of all, and of `ENDS`.
    misses: (u8, u8),
    uncertain: bool,
    misses_at: (u8, u8),
    /// Losses, and processors that are uncertain.
    guard: (u8, u8),
    held: bool,
    dead: bool,
    /// Whether the kernel calls programs.
    off: bool,
    /// ftrace's lock.
    locked: bool,
    kdregd: Kdregd,
}

impl State {
    pub fn new() -> State {
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
            tasks: [task; 3],
            current: 0,
            active: [0; PROGRAMS],
            misses: (0, 0),
            uncertain: false,
            misses_at: (0, 0),
            guard: (0, 0),
            held: false,
            dead: false,
            off: false,
            locked: false,
            kdregd: Kdregd::Idle,
        }
    }

    /// The number of the uncertainty changes: whoever remembers it finds out.
    fn renumber(&mut self) {
        for task in &mut self.tasks {
            task.fresh = false;
        }
    }

    /// The scheduler's program: in one go, as interrupts are off.
    pub fn switch(mut self, to: usize, mutant: Mutant) -> State {
        let watched = match mutant {
            Mutant::Unwatched => &self.active[..1],
            _ => &self.active[..],
        };
        let inside = watched.iter().any(|count| *count != 0);
        if self.uncertain {
            self.renumber();
            if !inside || mutant == Mutant::LowerAtOnce {
                let lost = self.misses != self.misses_at && mutant != Mutant::NoLoss;
                let held = self.misses.1 != self.misses_at.1 && mutant != Mutant::NoHold;
                self.uncertain = false;
                self.guard.0 += u8::from(lost) + u8::from(held);
                self.held |= held;
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
    pub fn step(mut self, plan: &Plan, mutant: Mutant) -> Option<State> {
        let number = self.current;
        let mut task = self.tasks[number];
        let does = *plan[number].get(task.ended as usize)?;
        let program = does.program();
        let writes = matches!(does, Write(Some(_)));
        let locks = |at| writes && (at == At::Switching) == (mutant == Mutant::Unlocked);
        if (task.at == At::Outside || task.at == At::Switching) && locks(task.at) {
            if self.locked {
                return None;
            }
            self.locked = true;
        }
        task.at = match task.at {
            At::Outside if self.off => {
                task.begun += 1;
                if writes {
                    At::Switching
                } else {
                    task.ended += 1;
                    At::Outside
                }
            }
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
                self.misses.0 += 1;
                self.misses.1 += u8::from(matches!(does, Write(_)));
                At::Done
            }
            At::Inside => {
                match does {
                    Change(_) => task.logged += 1,
                    Write(what) => self.dead |= what == Some(false),
                }
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
            At::Counting => At::Comparing(self.misses.0, self.misses.1),
            At::Comparing(all, ends) => {
                At::Ending(all != self.misses_at.0, ends != self.misses_at.1)
            }
            At::Ending(lost, held) => {
                if task.fresh || (mutant == Mutant::NoRetry && self.uncertain) {
                    self.uncertain = false;
                    self.renumber();
                    match mutant {
                        Mutant::NoHold | Mutant::LateHold => At::Adding(lost),
                        _ if held => At::Raising,
                        _ => At::Adding(lost && mutant != Mutant::NoLoss),
                    }
                } else {
                    At::Done
                }
            }
            At::Raising => {
                self.guard.0 += u8::from(mutant != Mutant::SameWord);
                At::Holding(true)
            }
            At::Holding(first) => {
                self.held = true;
                if first { At::Adding(true) } else { At::Done }
            }
            At::Adding(lost) => {
                self.guard.1 -= 1;
                if lost && mutant == Mutant::LateLoss {
                    At::AddingLate
                } else {
                    self.guard.0 += u8::from(lost);
                    match mutant {
                        Mutant::LateHold if lost => At::Holding(false),
                        _ => At::Done,
                    }
                }
            }
            At::AddingLate => {
                self.guard.0 += 1;
                At::Done
            }
            At::Done => {
                self.active[program] -= 1;
                if writes {
                    At::Switching
                } else {
                    task.ended += 1;
                    At::Outside
                }
            }
            At::Switching => {
                self.off = does == Write(Some(false));
                self.locked = false;
                task.ended += 1;
                At::Outside
            }
        };
        // Remembered while it is inside leave() alone.
        task.fresh &= matches!(
            task.at,
            At::Looking(_) | At::Counting | At::Comparing(..) | At::Ending(..)
        );
        self.tasks[number] = task;
        Some(self)
    }

    /// The next instruction of another task, where the kernel calls no program: it need not
    /// wait for this processor.
    pub fn elsewhere(mut self, number: usize, plan: &Plan, mutant: Mutant) -> Option<State> {
        let here = self.current;
        let at = self.tasks[number].at;
        let may = at == At::Switching || at == At::Outside && self.off;
        self.current = number;
        let mut next = self.step(plan, mutant).filter(|_| may)?;
        next.current = here;
        Some(next)
    }

    /// The client of a task looks, from another processor, and registers anew what
    /// is not valid any more. `Err`: it took a region for valid though a run that
    /// began after it had been registered has ended. (A run that had begun by then
    /// is of a change that has been made, or that another run follows.)
    pub fn look(self, number: usize) -> Result<State, State> {
        let task = &self.tasks[number];
        if self.guard.1 != 0 || self.held || self.dead {
            // Not valid now; it may be again.
            return Ok(self);
        }
        let valid = self.guard == task.word && task.logged == task.logged_at;
        if valid && task.ended > task.begun_at {
            return Err(self);
        }
        Ok(if valid { self } else { self.register(number) })
    }

    /// The same while changes may be lost. (When they are not, it does so once its region
    /// is not valid any more.)
    pub fn register_meanwhile(self, number: usize) -> Option<State> {
        (self.guard.1 != 0 || self.held).then(|| self.register(number))
    }

    /// It makes good what was lost, and registers.
    fn register(mut self, number: usize) -> State {
        let task = &mut self.tasks[number];
        task.word = (self.guard.0, 0);
        task.begun_at = task.begun;
        task.logged_at = task.logged;
        self
    }

    /// kdregd's next step.
    pub fn look_for_ends(mut self, mutant: Mutant) -> State {
        let idle = !self.held || self.dead;
        let waits = self.locked;
        self.kdregd = match self.kdregd {
            Kdregd::Idle if idle => Kdregd::Idle,
            Kdregd::Idle if mutant != Mutant::LateWord => Kdregd::Reading(self.guard),
            Kdregd::Idle | Kdregd::Reading(_) if waits => self.kdregd,
            Kdregd::Idle | Kdregd::Reading(_) if self.off => {
                self.dead = true;
                Kdregd::Idle
            }
            Kdregd::Idle => Kdregd::Read,
            Kdregd::Read => Kdregd::LettingGo(self.guard),
            Kdregd::Reading(word) => Kdregd::LettingGo(word),
            Kdregd::LettingGo(word) => {
                if word == self.guard {
                    self.held = false;
                    self.guard.0 += u8::from(mutant != Mutant::LetGoUnchanged);
                }
                Kdregd::Idle
            }
        };
        self
    }
}
