// SPDX-License-Identifier: MIT OR Apache-2.0
//! Letting go of a guard that is held (`bpf/guard.h`, `bpf/images.h`): nothing is valid
//! until somebody has looked whether all programs are there, and called.

use super::features::Features;
use super::ftrace;
use super::images::{self, Images};
use super::loaded::Generation;
use super::orders;
use anyhow::Result;
use kdreg::monitor::bpf::abi;

/// How often a guard that is held is looked at in a row: its word may go up meanwhile.
const ATTEMPTS: u32 = 8;

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// It was not held, or nothing is certain any more.
    Nothing,
    /// It was, and is not any more.
    LetGo,
    /// It still is: look again.
    Held,
}

/// Ends all, if programs are not called any more and the one that sees that coming has
/// not. It may have been left out: then the guard is held, and let go of if they are.
/// It may have been attached too late, so this has to be called once after that.
pub fn look(generation: &Generation, features: &Features) -> Result<Found> {
    for _ in 0..ATTEMPTS {
        // Before anything is looked at: a word that is the same afterwards is of
        // nothing that was left out since.
        let word = generation.guard()?.word;
        // (Who rests has a generation that is dead.)
        if word & abi::GUARD_DEAD != 0 {
            return Ok(Found::Nothing);
        }
        let against = match features.ftrace_switch {
            true => ftrace::against(),
            false => None,
        };
        let held = word & abi::GUARD_HELD != 0;
        let images = match held {
            true => images::look(generation)?,
            false => Images::One,
        };
        let why = match against {
            None if held && !generation.has_its_links()? => Some("a program is gone"),
            None if matches!(images, Images::Unknown | Images::Absurd) => {
                Some("a trampoline was made or freed")
            }
            other => other,
        };
        if let Some(why) = why {
            eprintln!("kdregd: {why}, though no program has seen that");
            orders::end_all(generation)?;
            return Ok(Found::Nothing);
        }
        if !held {
            return Ok(Found::Nothing);
        }
        if images == Images::Several {
            return Ok(Found::Held);
        }
        if orders::let_go(generation, word)? {
            return Ok(Found::LetGo);
        }
    }
    Ok(Found::Held)
}
