// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who has a log.

use super::limits::Limits;
use super::refusal::Refusal;
use crate::kernel::clients as maps;
use std::collections::HashMap;
use std::os::fd::RawFd;

/// A process that has a log.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// Its process.
    pub pid: u32,
    /// Whose it is.
    pub uid: u32,
    /// `abi::MODE_*`.
    pub mode: u32,
    /// Entries of its log.
    pub capacity: u32,
    /// What its log is called.
    pub identity: u64,
    /// Its connection; `None`: it enrolled with a kdregd that is no more.
    pub connection: Option<RawFd>,
}

/// All of them, by address space.
#[derive(Default, Debug)]
pub struct Clients {
    by_space: HashMap<u64, Client>,
}

impl Clients {
    /// Whether a user may have another one.
    pub fn may_add(&self, uid: u32, capacity: u32, limits: &Limits) -> Result<(), Refusal> {
        if self.by_space.len() >= limits.clients as usize {
            return Err(Refusal::new(
                libc::EUSERS,
                format!(
                    "there are {} clients, as many as there may be",
                    limits.clients
                ),
            ));
        }
        if uid == 0 {
            return Ok(());
        }
        let of_user = || self.by_space.values().filter(|client| client.uid == uid);
        if of_user().count() >= limits.user_clients as usize {
            return Err(Refusal::new(
                libc::EDQUOT,
                format!(
                    "user {uid} has {} clients, as many as one may have",
                    limits.user_clients
                ),
            ));
        }
        let memory: u64 = of_user().map(|client| maps::memory(client.capacity)).sum();
        if memory + maps::memory(capacity) > limits.user_memory {
            return Err(Refusal::new(
                libc::EDQUOT,
                format!(
                    "user {uid} has logs of {memory} bytes, and may have {}",
                    limits.user_memory
                ),
            ));
        }
        Ok(())
    }

    /// Adds one.
    pub fn add(&mut self, mm: u64, client: Client) {
        self.by_space.insert(mm, client);
    }

    /// The one of an address space.
    pub fn get(&self, mm: u64) -> Option<&Client> {
        self.by_space.get(&mm)
    }

    /// Forgets one.
    pub fn remove(&mut self, mm: u64) -> Option<Client> {
        self.by_space.remove(&mm)
    }

    /// Forgets all connections: nobody looks after them any more.
    pub fn disconnect(&mut self) {
        for client in self.by_space.values_mut() {
            client.connection = None;
        }
    }

    /// All of them, with their address spaces.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Client)> {
        self.by_space.iter().map(|(mm, client)| (*mm, client))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_space.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(uid: u32) -> Client {
        Client {
            pid: 1,
            uid,
            mode: 1,
            capacity: 2048,
            identity: 1,
            connection: None,
        }
    }

    #[test]
    fn one_user_cannot_take_it_all() {
        let limits = Limits {
            clients: 4,
            user_clients: 2,
            ..Default::default()
        };
        let mut clients = Clients::default();
        clients.add(1, client(1000));
        clients.add(2, client(1000));
        let refused = clients.may_add(1000, 64, &limits).unwrap_err();
        assert_eq!(refused.errno, libc::EDQUOT);
        clients.may_add(1001, 64, &limits).unwrap();
        clients.may_add(0, 64, &limits).unwrap();
        clients.add(3, client(0));
        clients.add(4, client(0));
        let refused = clients.may_add(0, 64, &limits).unwrap_err();
        assert_eq!(refused.errno, libc::EUSERS);
        clients.remove(1);
        clients.may_add(1000, 64, &limits).unwrap();
    }

    #[test]
    fn memory_is_bounded_too() {
        let limits = Limits {
            user_memory: 3 * maps::memory(2048),
            ..Default::default()
        };
        let mut clients = Clients::default();
        clients.add(1, client(1000));
        clients.add(2, client(1000));
        clients.may_add(1000, 2048, &limits).unwrap();
        assert!(clients.may_add(1000, 4096, &limits).is_err());
    }
}
