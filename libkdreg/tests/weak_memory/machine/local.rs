// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a thread does that no other can tell: fetching, computing, guessing.

use super::{Instance, Machine, Operand, Progress, State, Thread, WINDOW};
use crate::program::{Address, Operation, Source, Value};

impl Machine<'_> {
    /// Fetches, computes and retires what can be, all of which no other thread
    /// can tell; more than one state where a branch is guessed, none where a
    /// guess was wrong.
    pub(super) fn settle(&self, state: State) -> Vec<State> {
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
    pub(super) fn give(&mut self, index: usize, value: Value, progress: Progress) {
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
    pub(super) fn retire(&mut self) {
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
