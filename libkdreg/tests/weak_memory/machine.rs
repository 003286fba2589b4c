// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine with ARMv8's memory model, and all that it can do.
//!
//! It has one memory: since 2017 the architecture is multi-copy atomic, so that
//! a store is seen by all other threads at once, and what is left of weakness is
//! the order in which one thread's accesses take effect. Each thread fetches its
//! operations in order, past branches whose outcome it guesses, and carries them
//! out in any order that these rules leave (section B2.3 of the architecture's
//! manual, in operational form):
//!
//! * a load may be early, also past branches, earlier stores and earlier loads
//!   of other places; it takes the value of an own store that has not taken
//!   effect yet (forwarding);
//! * a store takes effect after everything that it depends on: address, data,
//!   every branch and every address before it; it may be earlier than earlier
//!   loads and stores of other places;
//! * accesses of one thread to one place keep their order;
//! * nothing overtakes an acquiring load; a releasing store overtakes nothing;
//!   DMB ISH orders all with all, DMB ISHLD loads with what follows;
//! * an update is a pair of exclusive accesses: nobody else writes the place
//!   between them, other things may happen there;
//! * membarrier(2) interrupts every other thread once, between two operations:
//!   what is before has taken effect, what is after has not begun.
//!
//! A branch that was guessed wrong ends a run that never was, so that nothing
//! can be concluded from it. Weaker machines are not modelled: a load of a place
//! whose earlier access has an address that is not known yet waits for it.

mod local;
mod rules;

use super::program::{Code, Operation, REGISTERS, Value};
use std::collections::HashSet;

/// How far a thread fetches ahead of what it has done.
const WINDOW: usize = 14;

/// Where a value comes from: it is known, or what an operation of the window
/// will give.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Operand {
    Known(Value),
    From(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Progress {
    Waiting,
    /// An update that has read, and not written.
    Read,
    Done,
}

/// An operation in a thread's window.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Instance {
    /// Its number in the thread's code.
    number: u8,
    progress: Progress,
    /// What it gives, once it has.
    value: Value,
    /// Address, and what is stored; or what is computed from.
    operands: [Operand; 2],
    /// A branch: the outcome that was guessed. A membarrier: the threads that it
    /// has interrupted.
    extra: u8,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Thread {
    /// What is fetched next.
    next: u8,
    registers: [Operand; REGISTERS],
    window: Vec<Instance>,
}

/// A state of the whole machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    threads: Vec<Thread>,
    memory: Vec<Value>,
    /// By place: the thread whose update has read and not written, plus one.
    reserved: Vec<u8>,
}

/// How a run ended: the registers of each thread, and memory.
pub struct End<'a> {
    pub registers: Vec<[Value; REGISTERS]>,
    pub memory: &'a [Value],
}

/// What there is to find out about programs.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    /// Ways to end, as far as `wrong` can tell.
    pub ends: usize,
    /// The steps of the first run that was wrong.
    pub wrong: Option<Vec<String>>,
}

/// Runs the programs in every way, on memory that holds `memory` at first, until
/// a run ends in a state that is `wrong`.
pub fn explore(programs: &[Code], memory: &[Value], wrong: impl Fn(&End) -> bool) -> Explored {
    let start = State {
        threads: programs
            .iter()
            .map(|_| Thread {
                next: 0,
                registers: [Operand::Known(0); REGISTERS],
                window: Vec::new(),
            })
            .collect(),
        memory: memory.to_vec(),
        reserved: vec![0; memory.len()],
    };
    let machine = Machine { programs };
    let mut seen = HashSet::new();
    let mut explored = Explored {
        states: 0,
        ends: 0,
        wrong: None,
    };
    // Each with how many of `path` led there.
    let mut open: Vec<(State, usize, String)> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    for state in machine.settle(start) {
        open.push((state, 0, "start".to_owned()));
    }
    while let Some((state, depth, step)) = open.pop() {
        if !seen.insert(state.clone()) {
            continue;
        }
        path.truncate(depth);
        path.push(step);
        explored.states += 1;
        if let Some(registers) = machine.ended(&state) {
            explored.ends += 1;
            let end = End {
                registers,
                memory: &state.memory,
            };
            if wrong(&end) {
                path.push(format!("{:?}", end.registers));
                explored.wrong = Some(path);
                return explored;
            }
            continue;
        }
        for (next, step) in machine.steps(&state) {
            for settled in machine.settle(next) {
                open.push((settled, depth + 1, step.clone()));
            }
        }
    }
    explored
}

struct Machine<'a> {
    programs: &'a [Code],
}

impl Machine<'_> {
    fn operation(&self, thread: usize, instance: &Instance) -> Operation {
        self.programs[thread].0[usize::from(instance.number)]
    }

    /// The registers of all threads, if all have done everything.
    fn ended(&self, state: &State) -> Option<Vec<[Value; REGISTERS]>> {
        let known = |operand: &Operand| match operand {
            Operand::Known(value) => *value,
            Operand::From(_) => unreachable!("an empty window gives nothing"),
        };
        (state.threads.iter().zip(self.programs))
            .map(|(thread, code)| {
                let done = thread.window.is_empty() && usize::from(thread.next) == code.0.len();
                done.then(|| thread.registers.each_ref().map(known))
            })
            .collect()
    }

    /// Whatever can happen next that other threads may tell.
    fn steps(&self, state: &State) -> Vec<(State, String)> {
        let mut steps = Vec::new();
        for (number, thread) in state.threads.iter().enumerate() {
            for (index, instance) in thread.window.iter().enumerate() {
                if instance.progress != Progress::Done {
                    self.step(state, number, index, &mut steps);
                }
            }
        }
        steps
    }

    fn step(&self, state: &State, number: usize, index: usize, steps: &mut Vec<(State, String)>) {
        let thread = &state.threads[number];
        let instance = thread.window[index];
        let operation = self.operation(number, &instance);
        let mut push = |next: State, what: String| steps.push((next, what));
        let say = |what: &str| format!("thread {number}: {what} {operation:?}");
        match (operation, instance.progress) {
            (Operation::Load { .. }, _) => {
                if let Some(value) = self.readable(state, number, index) {
                    let mut next = state.clone();
                    next.threads[number].give(index, value, Progress::Done);
                    push(next, say(&format!("{value} from")));
                }
            }
            (Operation::Update { change, .. }, Progress::Waiting) => {
                let place = self.place(number, &instance);
                let Operand::Known(operand) = instance.operands[1] else {
                    return;
                };
                let free = place.is_some_and(|place| state.reserved[place] == 0);
                if let (true, Some(found)) = (free, self.readable(state, number, index)) {
                    let mut next = state.clone();
                    let progress = match change(found, operand) {
                        None => Progress::Done,
                        Some(_) => {
                            next.reserved[place.unwrap_or(0)] = number as u8 + 1;
                            Progress::Read
                        }
                    };
                    next.threads[number].give(index, found, progress);
                    push(next, say(&format!("{found} read by")));
                }
            }
            (Operation::Update { change, .. }, _) => {
                let place = self.writable(state, number, index);
                if let (Some(place), Operand::Known(operand)) = (place, instance.operands[1]) {
                    let mut next = state.clone();
                    next.memory[place] = change(instance.value, operand).unwrap_or(instance.value);
                    next.reserved[place] = 0;
                    next.threads[number].window[index].progress = Progress::Done;
                    push(next, say("written by"));
                }
            }
            (Operation::Store { .. }, _) => {
                let place = self.writable(state, number, index);
                if let (Some(place), Operand::Known(value)) = (place, instance.operands[1]) {
                    let mut next = state.clone();
                    next.memory[place] = value;
                    next.threads[number].window[index].progress = Progress::Done;
                    push(next, say(&format!("{value} by")));
                }
            }
            (Operation::Fence, _) => {
                if self.all_done(thread, number, index, |_| true) {
                    let mut next = state.clone();
                    next.threads[number].window[index].progress = Progress::Done;
                    push(next, say(""));
                }
            }
            (Operation::FenceLoads, _) => {
                let reads = |instance: &Instance| match self.operation(number, instance) {
                    Operation::Load { .. } => true,
                    Operation::Update { .. } => instance.progress == Progress::Waiting,
                    _ => false,
                };
                if self.all_done(thread, number, index, reads) {
                    let mut next = state.clone();
                    next.threads[number].window[index].progress = Progress::Done;
                    push(next, say(""));
                }
            }
            (Operation::Membarrier, _) => {
                self.interrupt(state, number, index, &mut push);
            }
            (Operation::Compute { .. } | Operation::Branch { .. }, _) => {}
        }
    }

    fn interrupt(
        &self,
        state: &State,
        number: usize,
        index: usize,
        push: &mut impl FnMut(State, String),
    ) {
        // System calls are made by what is not guessed any more.
        if index != 0 {
            return;
        }
        let interrupted = state.threads[number].window[index].extra;
        let mut waits = false;
        for (other, thread) in state.threads.iter().enumerate() {
            if other == number || interrupted & 1 << other != 0 {
                continue;
            }
            waits = true;
            // Between two operations: none after the first that is not done has
            // begun. Arithmetic and branches would only be done again.
            let begun = |instance: &Instance| {
                let local = matches!(
                    self.operation(other, instance),
                    Operation::Compute { .. } | Operation::Branch { .. }
                );
                instance.progress != Progress::Waiting && !local
            };
            if !thread.window.iter().any(begun) {
                let mut next = state.clone();
                next.threads[number].window[index].extra |= 1 << other;
                push(next, format!("thread {number} interrupts {other}"));
            }
        }
        if !waits {
            let mut next = state.clone();
            next.threads[number].window[index].progress = Progress::Done;
            push(next, format!("thread {number}: membarrier ends"));
        }
    }
}
