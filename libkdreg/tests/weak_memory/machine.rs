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

use super::program::{Address, Code, Operation, REGISTERS, Source, Value};
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

    /// Fetches, computes and retires what can be, all of which no other thread
    /// can tell; more than one state where a branch is guessed, none where a
    /// guess was wrong.
    fn settle(&self, state: State) -> Vec<State> {
        let mut settled = Vec::new();
        let mut open = vec![state];
        'states: while let Some(mut state) = open.pop() {
            for number in 0..state.threads.len() {
                loop {
                    match self.local_step(&mut state.threads[number], number) {
                        Local::Nothing => break,
                        Local::Stepped => {}
                        Local::Wrong => continue 'states,
                        Local::Guess(other) => {
                            let mut guessed = state.clone();
                            guessed.threads[number] = other;
                            open.push(guessed);
                        }
                    }
                }
            }
            settled.push(state);
        }
        settled
    }

    fn local_step(&self, thread: &mut Thread, number: usize) -> Local {
        for index in 0..thread.window.len() {
            let instance = thread.window[index];
            if instance.progress == Progress::Done {
                continue;
            }
            match (self.operation(number, &instance), instance.operands) {
                (
                    Operation::Compute { function, .. },
                    [Operand::Known(first), Operand::Known(second)],
                ) => {
                    thread.give(index, function(first, second), Progress::Done);
                    return Local::Stepped;
                }
                (Operation::Branch { .. }, [Operand::Known(value), _]) => {
                    if u8::from(value != 0) != instance.extra {
                        return Local::Wrong;
                    }
                    thread.window[index].progress = Progress::Done;
                    return Local::Stepped;
                }
                _ => {}
            }
        }
        if (thread.window.first()).is_some_and(|first| first.progress == Progress::Done) {
            thread.retire();
            return Local::Stepped;
        }
        self.fetch(thread, number)
    }

    fn fetch(&self, thread: &mut Thread, number: usize) -> Local {
        let code = &self.programs[number].0;
        if thread.window.len() == WINDOW || usize::from(thread.next) == code.len() {
            return Local::Nothing;
        }
        let operation = code[usize::from(thread.next)];
        let operand = |source: Source| match source {
            Source::Number(value) => Operand::Known(value),
            Source::Register(register) => thread.registers[usize::from(register)],
        };
        let whole = |at: Address| operand(at.plus);
        let none = Operand::Known(0);
        let (into, operands) = match operation {
            Operation::Load { into, at, .. } => (Some(into), [whole(at), none]),
            Operation::Store { at, value, .. } => (None, [whole(at), operand(value)]),
            Operation::Update {
                into,
                at,
                operand: with,
                ..
            } => (Some(into), [whole(at), operand(with)]),
            Operation::Compute { into, from, .. } => (Some(into), from.map(operand)),
            Operation::Branch { on, .. } => (None, [operand(Source::Register(on)), none]),
            Operation::Fence | Operation::FenceLoads | Operation::Membarrier => {
                (None, [none, none])
            }
        };
        let instance = Instance {
            number: thread.next,
            progress: Progress::Waiting,
            value: 0,
            operands,
            extra: 0,
        };
        let place = thread.window.len() as u8;
        thread.window.push(instance);
        thread.next += 1;
        if let Some(into) = into {
            thread.registers[usize::from(into)] = Operand::From(place);
        }
        let Operation::Branch { to, .. } = operation else {
            return Local::Stepped;
        };
        let taken = |thread: &mut Thread| {
            thread.window[usize::from(place)].extra = 1;
            thread.next = to as u8;
        };
        match operands[0] {
            Operand::Known(0) => Local::Stepped,
            Operand::Known(_) => {
                taken(thread);
                Local::Stepped
            }
            Operand::From(_) => {
                let mut other = thread.clone();
                taken(&mut other);
                Local::Guess(other)
            }
        }
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

    /// Whether everything before an instance that `counts` is done. Branches
    /// and arithmetic never count.
    fn all_done(
        &self,
        thread: &Thread,
        number: usize,
        index: usize,
        counts: impl Fn(&Instance) -> bool,
    ) -> bool {
        thread.window[..index].iter().all(|instance| {
            let local = matches!(
                self.operation(number, instance),
                Operation::Compute { .. } | Operation::Branch { .. }
            );
            instance.progress == Progress::Done || local || !counts(instance)
        })
    }

    /// Where an access goes, once that is known.
    fn place(&self, number: usize, instance: &Instance) -> Option<usize> {
        let place = match self.operation(number, instance) {
            Operation::Load { at, .. }
            | Operation::Store { at, .. }
            | Operation::Update { at, .. } => at.place,
            _ => return None,
        };
        match instance.operands[0] {
            Operand::Known(plus) => Some((Value::from(place) + plus) as usize),
            Operand::From(_) => None,
        }
    }

    /// What the load of an instance may find now.
    fn readable(&self, state: &State, number: usize, index: usize) -> Option<Value> {
        let thread = &state.threads[number];
        let place = self.place(number, &thread.window[index])?;
        let mut forwarded = None;
        for before in &thread.window[..index] {
            if before.progress == Progress::Done {
                continue;
            }
            match self.operation(number, before) {
                Operation::Fence | Operation::FenceLoads | Operation::Membarrier => return None,
                Operation::Load { acquire: true, .. } => return None,
                Operation::Update { acquire: true, .. } if before.progress == Progress::Waiting => {
                    return None;
                }
                Operation::Load { .. } | Operation::Update { .. } => {
                    if self.place(number, before).is_none_or(|it| it == place) {
                        return None;
                    }
                }
                Operation::Store { .. } => match (self.place(number, before), before.operands[1]) {
                    (Some(it), _) if it != place => {}
                    (Some(_), Operand::Known(value)) => forwarded = Some(value),
                    _ => return None,
                },
                Operation::Compute { .. } | Operation::Branch { .. } => {}
            }
        }
        Some(forwarded.unwrap_or(state.memory[place]))
    }

    /// Where the store of an instance may take effect now.
    fn writable(&self, state: &State, number: usize, index: usize) -> Option<usize> {
        let thread = &state.threads[number];
        let place = self.place(number, &thread.window[index])?;
        let release = matches!(
            self.operation(number, &thread.window[index]),
            Operation::Store { release: true, .. } | Operation::Update { release: true, .. }
        );
        for before in &thread.window[..index] {
            if before.progress == Progress::Done {
                continue;
            }
            match self.operation(number, before) {
                Operation::Compute { .. } => {}
                Operation::Branch { .. }
                | Operation::Fence
                | Operation::FenceLoads
                | Operation::Membarrier
                | Operation::Load { acquire: true, .. } => return None,
                Operation::Update { acquire: true, .. } if before.progress == Progress::Waiting => {
                    return None;
                }
                Operation::Load { .. } | Operation::Store { .. } | Operation::Update { .. } => {
                    if release || self.place(number, before).is_none_or(|it| it == place) {
                        return None;
                    }
                }
            }
        }
        let by = state.reserved[place];
        (by == 0 || usize::from(by) == number + 1).then_some(place)
    }
}

/// What a thread did that nobody else can tell.
enum Local {
    Nothing,
    Stepped,
    /// A branch was guessed wrong.
    Wrong,
    /// It goes on either way: as it is now, or as this.
    Guess(Thread),
}

impl Thread {
    /// An instance gives its value to whoever waits for it.
    fn give(&mut self, index: usize, value: Value, progress: Progress) {
        self.window[index].value = value;
        self.window[index].progress = progress;
        let from = Operand::From(index as u8);
        for operand in (self.window.iter_mut().flat_map(|it| &mut it.operands))
            .chain(&mut self.registers)
            .filter(|operand| **operand == from)
        {
            *operand = Operand::Known(value);
        }
    }

    /// The first instance, which is done, leaves the window.
    fn retire(&mut self) {
        self.window.remove(0);
        for operand in
            (self.window.iter_mut().flat_map(|it| &mut it.operands)).chain(&mut self.registers)
        {
            if let Operand::From(place) = operand {
                *place -= 1;
            }
        }
    }
}
