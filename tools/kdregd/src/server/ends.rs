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

/// Looks through all: logs of address spaces that nobody has any more, or others
/// than whom they were given to, are ended; those of which nothing is known are
/// counted as their owners'.
pub fn sweep(server: &mut Server) -> Result<()> {
    let mut owners: HashMap<u64, Vec<tasks::Task>> = HashMap::new();
    for task in tasks::with_logs(&server.generation)? {
        owners.entry(task.mm).or_default().push(task);
    }
    for mm in maps::all(&server.generation) {
        let Some(seen) = orders::look(&server.generation, mm)? else {
            continue;
        };
        let known = server
            .clients
            .get(mm)
            .filter(|client| client.identity == seen.identity);
        let owners = owners.get(&mm).map_or(&[][..], Vec::as_slice);
        match (owners, known) {
            _ if seen.dead => end(server, mm, seen.identity)?,
            ([first, ..], None) => {
                let client = Client {
                    pid: first.tgid,
                    uid: first.uid,
                    mode: seen.mode,
                    capacity: seen.capacity,
                    identity: seen.identity,
                    connection: None,
                };
                server.clients.add(mm, client);
            }
            (owners, Some(client)) if owners.iter().any(|task| task.tgid == client.pid) => {}
            // Its end was not seen. The structure may be another process's by now,
            // which has nothing to do with this log.
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
