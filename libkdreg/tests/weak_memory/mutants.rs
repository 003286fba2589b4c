// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking orders and steps away, one at a time.

use super::machine::{End, explore};
use super::program::{Code, Value};
use std::cell::Cell;

/// What a protocol asks when it writes its programs down: whether the order or
/// step of this name is there. All are but one.
pub struct Steps {
    missing: Option<usize>,
    names: &'static [&'static str],
    asked: Cell<u64>,
}

impl Steps {
    pub fn has(&self, name: &str) -> bool {
        let place = self.names.iter().position(|it| *it == name);
        let place = place.unwrap_or_else(|| panic!("{name} is not in the protocol's list"));
        self.asked.set(self.asked.get() | 1 << place);
        self.missing != Some(place)
    }
}

/// A protocol as a machine runs it.
pub struct Protocol {
    pub name: &'static str,
    /// The orders and steps that can be taken away.
    pub steps: &'static [&'static str],
    /// Those without which nothing goes wrong here, and why they are there.
    pub spare: &'static [(&'static str, &'static str)],
    pub memory: Vec<Value>,
    pub programs: fn(&Steps) -> Vec<Code>,
    pub wrong: fn(&End) -> bool,
}

impl Protocol {
    fn without(&self, missing: Option<usize>) -> super::machine::Explored {
        let steps = Steps {
            missing,
            names: self.steps,
            asked: Cell::new(0),
        };
        let programs = (self.programs)(&steps);
        assert_eq!(
            steps.asked.get().count_ones() as usize,
            self.steps.len(),
            "{}: every name in the list is asked for",
            self.name
        );
        explore(&programs, &self.memory, self.wrong)
    }

    /// Nothing goes wrong with the protocol as it is; and with anything taken
    /// away that is not spare, something does.
    pub fn prove(&self) {
        let whole = self.without(None);
        if let Some(path) = whole.wrong {
            panic!("{}:\n{}", self.name, path.join("\n"));
        }
        assert!(whole.ends > 0, "{}: it comes to an end", self.name);
        println!(
            "{}: {} states, {} ends",
            self.name, whole.states, whole.ends
        );
        let mut unexpected = Vec::new();
        for (place, name) in self.steps.iter().enumerate() {
            let mutant = self.without(Some(place));
            let spare = self.spare.iter().find(|(it, _)| it == name);
            let found = mutant.wrong.is_some();
            let what = match (found, spare) {
                (true, _) => "goes wrong".to_owned(),
                (false, Some((_, why))) => format!("spare: {why}"),
                (false, None) => "nothing is found".to_owned(),
            };
            println!("  without {name}: {what} ({} states)", mutant.states);
            if std::env::var_os("KDREG_MODEL_PATHS").is_some() {
                println!("    {}", mutant.wrong.unwrap_or_default().join("\n    "));
            }
            if found == spare.is_some() {
                unexpected.push(name);
            }
        }
        assert!(unexpected.is_empty(), "{}: {unexpected:?}", self.name);
    }
}
