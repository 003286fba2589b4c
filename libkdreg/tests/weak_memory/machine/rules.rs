// SPDX-License-Identifier: MIT OR Apache-2.0
//! When an access may take effect.

use super::{Instance, Machine, Operand, Progress, State, Thread};
use crate::program::{Operation, Value};

impl Machine<'_> {
    /// Whether everything before an instance that `counts` is done. Branches
    /// and arithmetic never count.
    pub(super) fn all_done(
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
    pub(super) fn place(&self, number: usize, instance: &Instance) -> Option<usize> {
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
    pub(super) fn readable(&self, state: &State, number: usize, index: usize) -> Option<Value> {
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
    pub(super) fn writable(&self, state: &State, number: usize, index: usize) -> Option<usize> {
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
