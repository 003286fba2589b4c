// SPDX-License-Identifier: MIT OR Apache-2.0
//! The child: enrols, tries every change, and writes a line for each.

use super::changes::CHANGES;
use super::enrolled::{self, Enrolled};
use super::memory::Kind;
use super::reuse;
use crate::kernel::programs::Mode;
use crate::proof::{Cell, Outcome};
use anyhow::{Context, Error, Result, bail};
use kdreg::monitor::{Capabilities, bpf};
use std::io::Write;
use std::os::fd::AsFd;

/// What its last line is.
const END: &str = "end";

/// How it ends when it could not even begin: it has written why.
pub const REFUSED: i32 = 3;

/// Tries all there is; its exit status. The connection ends with the process.
pub fn run(mode: Mode) -> Result<i32> {
    let socket = enrolled::inherited();
    let subscribed = match mode {
        Mode::Notifier => bpf::subscribe_address_space().map_err(Error::msg),
        Mode::Flush => Ok(()),
    };
    let enrolled = match subscribed.and_then(|()| Enrolled::enrol(socket.as_fd(), mode)) {
        Ok(enrolled) => enrolled,
        Err(error) => {
            println!("{error:#}");
            return Ok(REFUSED);
        }
    };
    let mut out = std::io::stdout();
    for change in CHANGES {
        for kind in Kind::ALL
            .into_iter()
            .filter(|kind| change.kinds.contains(kind))
        {
            writeln!(out, "{}", line(&change.attempt(&enrolled, kind)))?;
        }
    }
    for cell in reuse::attempts(&enrolled) {
        writeln!(out, "{}", line(&cell))?;
    }
    writeln!(out, "{END}")?;
    Ok(0)
}

fn line(cell: &Cell) -> String {
    let (outcome, why) = match &cell.outcome {
        Outcome::Held => ("held", ""),
        Outcome::Failed(why) => ("failed", why.as_str()),
        Outcome::Absent(why) => ("absent", why.as_str()),
    };
    let capability = Capabilities::ALL
        .iter()
        .find(|(capability, _)| *capability == cell.capability)
        .map_or("", |(_, name)| name);
    [&cell.memory, &cell.change, capability, outcome, why].join("\t")
}

/// What a child has written; an error if it did not come to its end.
pub fn cells(text: &str) -> Result<Vec<Cell>> {
    let mut cells = Vec::new();
    for line in text.lines() {
        if line == END {
            return Ok(cells);
        }
        let fields: Vec<&str> = line.split('\t').collect();
        let [memory, change, capability, outcome, why] = fields[..] else {
            bail!("the self-test says {line:?}");
        };
        let outcome = match outcome {
            "held" => Outcome::Held,
            "failed" => Outcome::Failed(why.into()),
            "absent" => Outcome::Absent(why.into()),
            _ => bail!("the self-test says {line:?}"),
        };
        let capability = Capabilities::ALL
            .iter()
            .find(|(_, name)| *name == capability)
            .with_context(|| format!("the self-test says {line:?}"))?
            .0;
        cells.push(Cell {
            memory: memory.into(),
            change: change.into(),
            capability,
            outcome,
        });
    }
    bail!("the self-test ended after {} changes", cells.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let cell = Cell {
            memory: "thp".into(),
            change: "mremap, smaller".into(),
            capability: Capabilities::UNMAP,
            outcome: Outcome::Failed("4096 of 8192 bytes not logged".into()),
        };
        let text = format!("{}\nend\n", line(&cell));
        assert_eq!(cells(&text).unwrap(), [cell]);
    }

    #[test]
    fn half_a_self_test_is_none() {
        assert!(cells("").is_err());
        assert!(cells("anonymous\tmunmap\tunmap\theld\t\n").is_err());
        assert!(cells("anonymous\tmunmap\tnonsense\theld\t\nend\n").is_err());
        assert!(cells("anonymous\tmunmap\nend\n").is_err());
    }
}
