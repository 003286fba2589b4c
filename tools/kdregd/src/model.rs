// SPDX-License-Identifier: MIT OR Apache-2.0
//! A model of the guard (`bpf/guard.h`, `bpf/scheduler.h`): every interleaving of
//! some tasks on one processor, which may be switched away from at any
//! instruction, with a client on another processor who looks at any time. Never
//! does it take a change for none that has been made and missed: neither one that is
//! left out, nor one made while kernel.ftrace_enabled is 0 and what sees that coming was
//! left out (`bpf/life.h`, and `Server::look_for_ends` on yet another processor).
//!
//! What the processor's tasks share is touched by that processor alone, one
//! instruction at a time, so interleaving is all there is to go through; guard and
//! log, which others read, are written by full barriers.

mod images;
mod state;

use state::State;
use std::collections::HashSet;
use std::hash::Hash;

/// Programs: two, so that one can be left while a task is inside the other.
const PROGRAMS: usize = 2;
/// What a task does, with the program that runs for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// Changes memory.
    Change(usize),
    /// Reads or writes an integer of /proc/sys, with program `ENDS`: kernel.ftrace_enabled,
    /// to which it writes this, or another.
    Write(Option<bool>),
}
use Does::{Change, Write};

/// The program that sees writes to kernel.ftrace_enabled.
const ENDS: usize = 1;

/// What each task does, one after the other.
type Plan = [&'static [Does]; 3];
const CHANGES: Plan = [&[Change(0), Change(1)], &[Change(0)], &[Change(1)]];
const OFF: Plan = [
    &[Change(0)],
    &[Write(None), Write(None)],
    &[Write(None), Write(Some(false))],
];
const OFF_AND_ON: Plan = [
    &[Change(0)],
    &[Write(None)],
    &[Write(Some(false)), Write(Some(true))],
];

impl Does {
    fn program(self) -> usize {
        match self {
            Change(program) => program,
            Write(_) => ENDS,
        }
    }
}

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
    /// What sees programs go is left out, and that counts as any loss.
    NoHold,
    /// The guard is held once the processor is certain again.
    LateHold,
    /// It is held without a loss, ...
    SameWord,
    /// ... or let go of without one.
    LetGoUnchanged,
    /// kdregd looks at the guard's word once it has read kernel.ftrace_enabled.
    LateWord,
    /// What sees it written to is called before ftrace's lock is taken.
    Unlocked,
}

/// Goes through all there is; how many states there are, or the fault.
fn explore(plan: &Plan, mutant: Mutant) -> Result<usize, Box<State>> {
    reach([State::new()], |state| {
        let mut next: Vec<State> = Vec::new();
        next.extend(state.step(plan, mutant));
        next.push(state.look_for_ends(mutant));
        for (number, does) in plan.iter().enumerate() {
            if number != state.current {
                next.push(state.switch(number, mutant));
                next.extend(state.elsewhere(number, plan, mutant));
            }
            if does.iter().all(|does| matches!(does, Change(_))) {
                next.push(state.look(number).map_err(Box::new)?);
                next.extend(state.register_meanwhile(number));
            }
        }
        Ok(next)
    })
}

/// Goes through all that `next` leads to; how many states that is, or what it finds wrong.
fn reach<S: Copy + Eq + Hash>(
    first: impl IntoIterator<Item = S>,
    next: impl Fn(S) -> Result<Vec<S>, Box<S>>,
) -> Result<usize, Box<S>> {
    let mut left: Vec<S> = first.into_iter().collect();
    let mut seen: HashSet<S> = left.iter().copied().collect();
    while let Some(state) = left.pop() {
        let new = next(state)?.into_iter();
        left.extend(new.filter(|state| seen.insert(*state)));
    }
    Ok(seen.len())
}

#[test]
fn no_change_is_lost_without_a_trace() {
    for plan in [CHANGES, OFF, OFF_AND_ON] {
        let states = explore(&plan, Mutant::None).expect("a change was lost");
        // It has been somewhere.
        assert!(states > 10_000, "{states} states");
    }
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
        assert!(
            explore(&CHANGES, mutant).is_err(),
            "{mutant:?} was not found"
        );
    }
    for (plan, mutant) in [
        (OFF, Mutant::NoHold),
        (OFF, Mutant::LateHold),
        (OFF, Mutant::SameWord),
        (OFF_AND_ON, Mutant::LetGoUnchanged),
        (OFF, Mutant::LateWord),
        (OFF, Mutant::Unlocked),
    ] {
        assert!(explore(&plan, mutant).is_err(), "{mutant:?} was not found");
    }
}
