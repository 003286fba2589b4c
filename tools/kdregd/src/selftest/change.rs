// SPDX-License-Identifier: MIT OR Apache-2.0
//! A change to memory, and trying it.

use super::absent::{Absent, DENIED};
use super::enrolled::Enrolled;
use super::memory::{Kind, Memory};
use crate::proof::{Cell, Outcome};
use kdreg::monitor::Capabilities;
use std::ops::Range;

/// What is to be in the log when the call has returned.
pub enum Expected {
    /// All of this.
    Logged(Range<usize>),
    /// Nothing of this.
    Quiet(Range<usize>),
}

/// A change.
pub struct Change {
    pub name: &'static str,
    pub capability: Capabilities,
    /// Memory that it can be made to.
    pub kinds: &'static [Kind],
    /// What makes it possible, before the log is looked at.
    pub prepare: fn(&mut Memory) -> Result<(), Absent>,
    /// Makes it.
    pub make: fn(&mut Memory) -> Result<Expected, Absent>,
}

/// How often that is tried which the kernel's own doings can spoil.
const QUIET_TRIES: usize = 8;

/// Nothing to prepare.
pub fn ready(_memory: &mut Memory) -> Result<(), Absent> {
    Ok(())
}

impl Change {
    /// Makes it to memory of one kind.
    pub fn attempt(&self, enrolled: &Enrolled, kind: Kind) -> Cell {
        let outcome = match self.repeated(enrolled, kind) {
            Ok(outcome) => outcome,
            Err(Absent(why)) if why.starts_with(DENIED) => Outcome::Failed(why),
            Err(Absent(why)) => Outcome::Absent(why),
        };
        Cell {
            memory: kind.name().into(),
            change: self.name.into(),
            capability: self.capability,
            outcome,
        }
    }

    /// What must not be logged, may be for a reason of its own: the kernel moves
    /// pages as it likes. Then it is tried again.
    fn repeated(&self, enrolled: &Enrolled, kind: Kind) -> Result<Outcome, Absent> {
        let mut outcome = self.outcome(enrolled, kind)?;
        for _ in 0..QUIET_TRIES {
            if self.capability != Capabilities::FORK_WARM || outcome == Outcome::Held {
                break;
            }
            outcome = self.outcome(enrolled, kind)?;
        }
        Ok(outcome)
    }

    fn outcome(&self, enrolled: &Enrolled, kind: Kind) -> Result<Outcome, Absent> {
        let mut memory = Memory::new(kind)?;
        (self.prepare)(&mut memory)?;
        let since = enrolled.mark();
        let expected = (self.make)(&mut memory)?;
        let seen = match expected {
            Expected::Logged(range) => enrolled.knows(since, &range),
            Expected::Quiet(range) => match enrolled.suspects(since, &range) {
                Ok(true) => Err("logged, though nothing has changed".into()),
                Ok(false) => Ok(()),
                Err(why) => Err(why),
            },
        };
        Ok(match seen {
            Ok(()) => Outcome::Held,
            Err(why) => Outcome::Failed(why),
        })
    }
}
