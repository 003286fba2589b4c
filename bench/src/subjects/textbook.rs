// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cache of a textbook: a mutex around a sorted map of disjoint regions and
//! a linked list in the order of their last use. It has no monitor, it merges
//! nothing, and it registers with its mutex held, as real ones do. What is
//! invalidated must not be in use.

use super::{Cache, Kind, Setup, Subject};
use crate::layout::Key;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub const NAME: &str = "textbook: mutex, BTreeMap, list";

/// No node: the end of a list.
const END: usize = usize::MAX;

#[derive(Clone, Copy)]
struct Node {
    start: usize,
    end: usize,
    users: u32,
    older: usize,
    newer: usize,
}

struct State {
    by_start: BTreeMap<usize, usize>,
    nodes: Vec<Node>,
    free: Vec<usize>,
    oldest: usize,
    newest: usize,
}

struct Textbook {
    /// Protects everything, also while a registration is made.
    state: Mutex<State>,
    max_entries: usize,
    // Relaxed throughout: a setting and a count, they order nothing.
    delay_ns: AtomicU64,
    registrations: AtomicU64,
}

pub fn subject() -> Subject {
    Subject::new(NAME, Kind::Other, |setup: Setup| {
        Ok(Textbook {
            state: Mutex::new(State {
                by_start: BTreeMap::new(),
                nodes: Vec::new(),
                free: Vec::new(),
                oldest: END,
                newest: END,
            }),
            max_entries: setup.max_entries,
            delay_ns: AtomicU64::new(0),
            registrations: AtomicU64::new(0),
        })
    })
}

impl State {
    fn find(&self, addr: usize, length: usize) -> Option<usize> {
        let (_, &node) = self.by_start.range(..=addr).next_back()?;
        (addr + length <= self.nodes[node].end).then_some(node)
    }

    fn unlink(&mut self, node: usize) {
        let Node { older, newer, .. } = self.nodes[node];
        match older {
            END => self.oldest = newer,
            _ => self.nodes[older].newer = newer,
        }
        match newer {
            END => self.newest = older,
            _ => self.nodes[newer].older = older,
        }
    }

    fn append(&mut self, node: usize) {
        let newest = std::mem::replace(&mut self.newest, node);
        self.nodes[node].older = newest;
        self.nodes[node].newer = END;
        match newest {
            END => self.oldest = node,
            _ => self.nodes[newest].newer = node,
        }
    }

    fn remove(&mut self, node: usize) {
        self.unlink(node);
        self.by_start.remove(&self.nodes[node].start);
        self.free.push(node);
    }

    /// Makes room by removing the entry that was not used for the longest time.
    fn evict(&mut self) {
        let mut node = self.oldest;
        while node != END && self.nodes[node].users > 0 {
            node = self.nodes[node].newer;
        }
        if node != END {
            self.remove(node);
        }
    }
}

impl Textbook {
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, String> {
        self.state.lock().map_err(|error| error.to_string())
    }

    fn get(&self, key: &Key) -> Result<usize, String> {
        let length = key.length as usize;
        let mut state = self.state()?;
        if let Some(node) = state.find(key.addr, length) {
            state.unlink(node);
            state.append(node);
            state.nodes[node].users += 1;
            return Ok(node);
        }
        if state.by_start.len() >= self.max_entries {
            state.evict();
        }
        self.registrations.fetch_add(1, Ordering::Relaxed);
        let ns = self.delay_ns.load(Ordering::Relaxed);
        if ns > 0 {
            std::thread::sleep(Duration::from_nanos(ns));
        }
        let fresh = Node {
            start: key.addr,
            end: key.addr + length,
            users: 1,
            older: END,
            newer: END,
        };
        let node = match state.free.pop() {
            Some(node) => node,
            None => {
                state.nodes.push(fresh);
                state.nodes.len() - 1
            }
        };
        state.nodes[node] = fresh;
        state.by_start.insert(key.addr, node);
        state.append(node);
        Ok(node)
    }

    fn put(&self, node: usize) -> Result<(), String> {
        self.state()?.nodes[node].users -= 1;
        Ok(())
    }
}

impl Cache for Textbook {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        for key in keys {
            let node = self.get(key)?;
            self.put(node)?;
        }
        Ok(())
    }

    fn find(&self, keys: &[Key]) -> Result<(), String> {
        for key in keys {
            let mut state = self.state()?;
            let node = state.find(key.addr, key.length as usize);
            let node = node.ok_or("a region is not there")?;
            state.unlink(node);
            state.append(node);
            state.nodes[node].users += 1;
            drop(state);
            self.put(node)?;
        }
        Ok(())
    }

    fn invalidate(&self, addr: usize, length: usize) -> Result<(), String> {
        let mut state = self.state()?;
        // Regions are disjoint, so the last to begin before the end overlaps
        // if any does.
        while let Some((_, &node)) = state.by_start.range(..addr + length).next_back() {
            if state.nodes[node].end <= addr {
                break;
            }
            state.remove(node);
        }
        Ok(())
    }

    fn delay(&self, each: Duration) -> Result<(), String> {
        self.delay_ns
            .store(each.as_nanos() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn registrations(&self) -> Option<u64> {
        Some(self.registrations.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: usize) -> Key {
        Key {
            addr: 0x10000 + place * 0x1000,
            length: 0x1000,
            index: place as u32,
        }
    }

    #[test]
    fn evicts_the_least_recently_used() {
        let cache = subject().open(Setup::holding(2)).unwrap();
        cache.hit(&[key(0), key(1), key(0), key(2)]).unwrap();
        assert_eq!(cache.registrations(), Some(3));
        cache.find(&[key(0), key(2)]).unwrap();
        assert!(cache.find(&[key(1)]).is_err());
    }

    #[test]
    fn invalidates_what_overlaps() {
        let cache = subject().open(Setup::holding(8)).unwrap();
        cache.hit(&[key(0), key(1), key(2), key(3)]).unwrap();
        cache.invalidate(key(1).addr + 5, 0x1000).unwrap();
        cache.find(&[key(0), key(3)]).unwrap();
        assert!(cache.find(&[key(1)]).is_err() && cache.find(&[key(2)]).is_err());
    }
}
