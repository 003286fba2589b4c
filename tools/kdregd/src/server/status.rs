// SPDX-License-Identifier: MIT OR Apache-2.0
//! How kdregd is, as JSON.

use super::Server;
use crate::kernel::calls;
use crate::kernel::generation::build_name;
use crate::kernel::orders;
use crate::kernel::programs::{Mode, Part};
use crate::proof::{Outcome, Proof};
use kdreg::monitor::Capabilities;
use kdreg::monitor::bpf::abi;
use serde_json::{Value, json};

/// The short names of a set.
pub fn names(capabilities: Capabilities) -> Vec<&'static str> {
    Capabilities::ALL
        .iter()
        .filter(|(capability, _)| capabilities.contains(*capability))
        .map(|(_, name)| *name)
        .collect()
}

/// A self-test's table.
fn table(proof: &Proof) -> Value {
    let cells = proof.cells.iter().map(|cell| {
        let (outcome, why) = match &cell.outcome {
            Outcome::Held => ("held", None),
            Outcome::Failed(why) => ("failed", Some(why)),
            Outcome::Absent(why) => ("absent", Some(why)),
        };
        json!({
            "memory": cell.memory,
            "change": cell.change,
            "capability": names(cell.capability).first(),
            "outcome": outcome,
            "why": why,
        })
    });
    Value::Array(cells.collect())
}

/// The modes: offered or why not, and what was seen.
pub fn modes(server: &Server) -> Value {
    let mut modes = serde_json::Map::new();
    for mode in Mode::ALL {
        let proof = server.proofs.get(&mode);
        let why = match proof {
            Some(proof) => proof.against(),
            None => server.refused.get(&mode).cloned(),
        };
        let value = json!({
            "offered": proof.is_some_and(Proof::holds),
            "why_not": why,
            "attached": server.generation.is_attached(mode),
            "capabilities": proof.map(|proof| names(proof.capabilities)),
            "self_test": proof.map(table),
        });
        modes.insert(mode.name().into(), value);
    }
    Value::Object(modes)
}

fn guard(server: &Server) -> Value {
    let images = || {
        orders::images(&server.generation)
            .ok()
            .map(|images| images.of)
    };
    match server.generation.guard() {
        Ok(guard) => json!({
            "needed": server.features.needed(Part::Guard),
            "word": guard.word,
            "uncertain_processors": guard.word & abi::GUARD_UNCERTAIN & !abi::GUARD_HELD,
            "held": guard.word & abi::GUARD_HELD != 0,
            "losses": (guard.word & !abi::GUARD_DEAD) >> abi::GUARD_EPOCH_SHIFT,
            "dead": guard.word & abi::GUARD_DEAD != 0,
            // Of functions that mode flush has programs at the ends of, while it has.
            "images": server.generation.is_attached(Mode::Flush).then(images).flatten(),
        }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    }
}

fn programs(server: &Server) -> Value {
    let programs = server.generation.programs().map(|(program, fd)| {
        let info = calls::program_info(fd).ok();
        json!({
            "name": program.name,
            "at": program.target.map(|(_, target)| target),
            "attached": server.generation.is_linked(program),
            "misses": info.map(|info| info.recursion_misses),
            "instructions": info.map(|info| info.xlated_prog_len / 8),
        })
    });
    Value::Array(programs.collect())
}

fn clients(server: &Server, uid: u32) -> Value {
    let clients = server
        .clients
        .iter()
        .filter(|(_, client)| uid == 0 || client.uid == uid)
        .map(|(mm, client)| {
            let seen = orders::look(&server.generation, mm).ok().flatten();
            json!({
                "pid": client.pid,
                "uid": client.uid,
                "mode": client.mode,
                "log_entries": client.capacity,
                "logged": seen.map(|seen| seen.entries),
                "dead": seen.is_none_or(|seen| seen.dead),
                "connected": client.connection.is_some(),
            })
        });
    Value::Array(clients.collect())
}

/// All that user `uid` may know: of clients its own, and root all.
pub fn text(server: &Server, uid: u32) -> String {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "build": build_name(),
        "kernel": server.features.release,
        "preemptible": server.features.preemptible,
        "modes": modes(server),
        "guard": guard(server),
        "programs": programs(server),
        "limits": {
            "clients": server.limits.clients,
            "user_clients": server.limits.user_clients,
            "user_memory": server.limits.user_memory,
            "log_entries": server.limits.default_capacity,
        },
        "client_count": server.clients.len(),
        "clients": clients(server, uid),
    })
    .to_string()
}
