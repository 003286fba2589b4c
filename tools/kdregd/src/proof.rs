// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a self-test saw, and what may be claimed on the strength of it.

use kdreg::monitor::Capabilities;

/// What became of one change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log had it, whole, when the call returned. Of a change that is not to
    /// be logged: it was not.
    Held,
    /// It had not, or it had.
    Failed(String),
    /// This kernel or machine does not have the change, or the memory.
    Absent(String),
}

/// A change to a kind of memory, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    pub memory: String,
    pub change: String,
    /// What it is needed for.
    pub capability: Capabilities,
    pub outcome: Outcome,
}

/// A mode's self-test.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    pub cells: Vec<Cell>,
    /// What is claimed.
    pub capabilities: Capabilities,
    /// Why it did not come to its end.
    pub broken: Option<String>,
}

impl Proof {
    /// Draws the conclusion from what was seen. A capability that one cell failed,
    /// or that no cell could be had for, is not claimed.
    pub fn from_cells(cells: Vec<Cell>) -> Proof {
        let mut capabilities = Capabilities::NONE;
        for &(capability, _) in Capabilities::ALL {
            let mut held = false;
            let mut failed = false;
            for cell in cells.iter().filter(|cell| cell.capability == capability) {
                held |= cell.outcome == Outcome::Held;
                failed |= matches!(cell.outcome, Outcome::Failed(_));
            }
            if held && !failed {
                capabilities = capabilities.with(capability);
            }
        }
        if capabilities.contains(Capabilities::UNMAP) {
            // Looked at when the call had returned, by the thread that made it.
            capabilities = capabilities.with(Capabilities::SYNC);
        }
        let any = |memory: &str| {
            let mut of_kind = cells.iter().filter(|cell| cell.memory == memory);
            of_kind.any(|cell| cell.outcome == Outcome::Held)
        };
        let failed = cells
            .iter()
            .any(|cell| matches!(cell.outcome, Outcome::Failed(_)));
        if !failed && any("anonymous") && any("memfd") && any("file") {
            capabilities = capabilities.with(Capabilities::ALL_MEMORY);
        }
        Proof {
            cells,
            capabilities,
            broken: None,
        }
    }

    /// One that did not come to its end.
    pub fn broken(why: impl Into<String>) -> Proof {
        Proof {
            broken: Some(why.into()),
            ..Default::default()
        }
    }

    /// Whether clients may be offered the mode: with less than this it were of no
    /// use to a registration cache.
    pub fn holds(&self) -> bool {
        let least = Capabilities::UNMAP
            .with(Capabilities::REMAP)
            .with(Capabilities::DISCARD);
        self.broken.is_none() && self.capabilities.contains(least)
    }

    /// Why not.
    pub fn against(&self) -> Option<String> {
        if self.holds() {
            return None;
        }
        if let Some(why) = &self.broken {
            return Some(why.clone());
        }
        let failed = self.cells.iter().find_map(|cell| match &cell.outcome {
            Outcome::Failed(why) => Some(format!("{} of {}: {why}", cell.change, cell.memory)),
            _ => None,
        });
        Some(failed.unwrap_or_else(|| "the self-test saw nothing logged".into()))
    }

    /// In a few words.
    pub fn summary(&self) -> String {
        let count = |held: bool| {
            let cells = self.cells.iter();
            cells
                .filter(|cell| match cell.outcome {
                    Outcome::Held => held,
                    Outcome::Failed(_) => !held,
                    Outcome::Absent(_) => false,
                })
                .count()
        };
        format!(
            "{} changes of {} seen in time",
            count(true),
            count(true) + count(false)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(capability: Capabilities, outcome: Outcome) -> Cell {
        Cell {
            memory: "anonymous".into(),
            change: "munmap".into(),
            capability,
            outcome,
        }
    }

    #[test]
    fn one_failure_takes_the_claim_away() {
        let failed = || Outcome::Failed("late".into());
        let absent = || Outcome::Absent("no".into());
        let proof = Proof::from_cells(vec![
            cell(Capabilities::UNMAP, Outcome::Held),
            cell(Capabilities::UNMAP, failed()),
            cell(Capabilities::REMAP, Outcome::Held),
            cell(Capabilities::REMAP, absent()),
            cell(Capabilities::DISCARD, Outcome::Held),
            cell(Capabilities::FILE, absent()),
        ]);
        assert_eq!(
            proof.capabilities,
            Capabilities::REMAP.with(Capabilities::DISCARD)
        );
        assert!(!proof.holds());
        assert!(proof.against().unwrap().contains("late"));
    }

    #[test]
    fn without_a_self_test_nothing_holds() {
        assert!(!Proof::default().holds());
        assert!(!Proof::broken("killed").holds());
        assert!(!Proof::from_cells(Vec::new()).holds());
    }
}
