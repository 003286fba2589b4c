// SPDX-License-Identifier: MIT OR Apache-2.0
//! How logs end: a client closes its connection, or its address space goes.

use super::Server;
use super::clients::Client;
use crate::kernel::clients as maps;
use crate::kernel::orders;
use crate::kernel::tasks;
use anyhow::Result;
use std::collections::HashMap;

/// Ends a log and takes it out, unless it is another's by now.
pub fn end(server: &mut Server, mm: u64, identity: u64) -> Result<()> {
    let seen = orders::look(&server.generation, mm)?;
    if seen.is_some_and(|seen| seen.identity == identity) {
        // Dead first: the client may still have it mapped.
        orders::end(&server.generation, mm)?;
        maps::take_out(&server.generation, mm)?;
    }
    if server
        .clients
        .get(mm)
        .is_some_and(|client| client.identity == identity)
    {
        server.clients.remove(mm);
    }
    Ok(())
}

/// An address space is gone, says a program. It may be another's by now, with a
/// log that lives.
pub fn space_gone(server: &mut Server, mm: u64) -> Result<()> {
    match orders::look(&server.generation, mm)? {
        Some(seen) if seen.dead => end(server, mm, seen.identity),
        _ => Ok(()),
    }
}

/// Looks through all: logs of address spaces that nobody has any more are ended,
/// others of which nothing is known are counted as their owners'.
pub fn sweep(server: &mut Server) -> Result<()> {
    let owners: HashMap<u64, tasks::Task> = tasks::with_logs(&server.generation)?
        .into_iter()
        .map(|task| (task.mm, task))
        .collect();
    for mm in maps::all(&server.generation) {
        let Some(seen) = orders::look(&server.generation, mm)? else {
            continue;
        };
        match owners.get(&mm) {
            Some(task) if !seen.dead => {
                if server
                    .clients
                    .get(mm)
                    .is_none_or(|client| client.identity != seen.identity)
                {
                    server.clients.add(
                        mm,
                        Client {
                            pid: task.tgid,
                            uid: task.uid,
                            mode: seen.mode,
                            capacity: seen.capacity,
                            identity: seen.identity,
                            connection: None,
                        },
                    );
                }
            }
            _ => end(server, mm, seen.identity)?,
        }
    }
    Ok(())
}

/// Takes out logs that are dead, though nobody has reported it: the ring was full.
pub fn clear(server: &mut Server) -> Result<()> {
    let all: Vec<(u64, u64)> = server
        .clients
        .iter()
        .map(|(mm, client)| (mm, client.identity))
        .collect();
    for (mm, identity) in all {
        let seen = orders::look(&server.generation, mm)?;
        if seen.is_none_or(|seen| seen.dead || seen.identity != identity) {
            end(server, mm, identity)?;
        }
    }
    Ok(())
}
