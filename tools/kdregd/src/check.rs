// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this kernel can do, and why not, for people.

use crate::kernel::programs::{Mode, Part};
use crate::proof::{Outcome, Proof};
use crate::server::{Server, status};
use serde_json::json;
use std::fmt::Write as _;

/// As JSON.
pub fn json(server: &Server) -> String {
    let value = json!({
        "kernel": server.features.release,
        "preemptible": server.features.preemptible,
        "ftrace_switch": server.features.ftrace_switch,
        "guard": server.features.needed(Part::Guard),
        "modes": status::modes(server),
    });
    format!("{value:#}\n")
}

/// As text.
pub fn text(server: &Server) -> String {
    let mut text = String::new();
    let features = &server.features;
    let guard = if features.preemptible {
        "needed, as the kernel can preempt itself, and attached"
    } else {
        "not needed, as the kernel cannot preempt itself"
    };
    // Strings take all that is written to them.
    let _ = writeln!(text, "kernel    {}", features.release);
    let _ = writeln!(text, "guard     {guard}");
    for mode in Mode::ALL {
        let name = mode.name();
        match server.proofs.get(&mode) {
            Some(proof) => {
                let verdict = match proof.against() {
                    None => format!("offered; {}", proof.summary()),
                    Some(why) => format!("not offered: {why}"),
                };
                let _ = writeln!(text, "{name:9} {verdict}");
                table(&mut text, proof);
            }
            None => {
                let why = server
                    .refused
                    .get(&mode)
                    .map_or("not asked for", |why| why.as_str());
                let _ = writeln!(text, "{name:9} not offered: {why}");
            }
        }
    }
    text
}

fn table(text: &mut String, proof: &Proof) {
    if !proof.cells.is_empty() {
        let names = status::names(proof.capabilities).join(" ");
        let _ = writeln!(text, "          claims: {names}");
    }
    for cell in &proof.cells {
        let outcome = match &cell.outcome {
            Outcome::Held => "held".into(),
            Outcome::Failed(why) => format!("FAILED: {why}"),
            Outcome::Absent(why) => format!("not here: {why}"),
        };
        let _ = writeln!(
            text,
            "          {:9} {:28} {outcome}",
            cell.memory, cell.change
        );
    }
}
