// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registrations on demand: which are in use, and which wait for their range to
//! be asked for again.

use std::collections::HashMap;
use std::ffi::c_void;
use std::hash::BuildHasher;
use std::ptr::NonNull;

/// How many wait. They pin nothing, but a device has only so many registrations.
const WAITING: usize = 64;
/// How many ranges `auto` remembers, each in the place that its hash says.
const SEEN: usize = 256;

/// `IBV_ACCESS_REMOTE_*`: a peer may have its key.
const PEERS: u32 = 0b1110;

/// What a registration was made for, and is used again for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub addr: usize,
    pub length: usize,
    /// `IBV_ACCESS_*`, without `IBV_ACCESS_ON_DEMAND`.
    pub flags: u32,
}

type Mr = NonNull<c_void>;

pub struct Kept {
    /// Those in use.
    out: HashMap<Mr, Key>,
    /// Those that wait, the longest first. Never grows.
    waiting: Vec<(Key, Mr)>,
    /// For all addresses, by flags; `None` where the device made none.
    everything: Vec<(u32, Option<Mr>)>,
    /// How often a range was asked for. Never grows.
    seen: Vec<(Option<Key>, u32)>,
}

impl Kept {
    /// `None` without memory.
    pub fn new() -> Option<Kept> {
        let mut waiting = Vec::new();
        waiting.try_reserve_exact(WAITING).ok()?;
        let mut seen = Vec::new();
        seen.try_reserve_exact(SEEN).ok()?;
        seen.resize(SEEN, (None, 0));
        Some(Kept {
            out: HashMap::new(),
            waiting,
            everything: Vec::new(),
            seen,
        })
    }

    /// How often the range was asked for, this time included.
    pub fn comes_back(&mut self, key: &Key) -> u32 {
        let place = &mut self.seen[self.out.hasher().hash_one(key) as usize % SEEN];
        if place.0 != Some(*key) {
            *place = (Some(*key), 0);
        }
        place.1 = place.1.saturating_add(1);
        place.1
    }

    /// One that waits for just this.
    pub fn take(&mut self, key: &Key) -> Option<Mr> {
        let at = self.waiting.iter().position(|(known, _)| known == key)?;
        Some(self.waiting.remove(at).1)
    }

    /// It is in use. Without memory to say so it will not wait.
    pub fn give_out(&mut self, mr: Mr, key: Key) {
        if self.out.try_reserve(1).is_ok() {
            self.out.insert(mr, key);
        } else {
            self.out.remove(&mr);
        }
    }

    pub fn forget(&mut self, mr: Mr) {
        self.out.remove(&mr);
    }

    /// Nobody uses it any more; returns what is to be deregistered.
    pub fn end(&mut self, mr: Mr) -> Option<Mr> {
        if self.everything.iter().any(|(_, all)| *all == Some(mr)) {
            return None;
        }
        let Some(key) = self.out.remove(&mr) else {
            return Some(mr);
        };
        if key.flags & PEERS != 0 {
            // Its key would go on reaching whatever comes to be there.
            return Some(mr);
        }
        let oldest = (self.waiting.len() == WAITING).then(|| self.waiting.remove(0).1);
        self.waiting.push((key, mr));
        oldest
    }

    /// What is known of one for all addresses; `None`: nothing.
    pub fn everything(&self, flags: u32) -> Option<Option<Mr>> {
        let known = self.everything.iter().find(|(of, _)| *of == flags)?;
        Some(known.1)
    }

    /// It was tried. Returns what is to be used, and what is to be deregistered.
    pub fn is_everything(&mut self, flags: u32, made: Option<Mr>) -> (Option<Mr>, Option<Mr>) {
        if let Some(known) = self.everything(flags) {
            return (known, made);
        }
        if self.everything.try_reserve(1).is_err() {
            return (None, made);
        }
        self.everything.push((flags, made));
        (made, None)
    }

    /// One that nobody uses, which is not kept any more.
    pub fn idle(&mut self, everything: bool) -> Option<Mr> {
        if let Some((_, mr)) = self.waiting.pop() {
            return Some(mr);
        }
        if !everything {
            return None;
        }
        loop {
            let (_, mr) = self.everything.pop()?;
            if mr.is_some() {
                return mr;
            }
        }
    }
}

// SAFETY: addresses of libibverbs's structures, which any thread may use.
unsafe impl Send for Kept {}

#[cfg(test)]
mod tests {
    use super::*;

    fn mr(number: usize) -> Mr {
        NonNull::new(std::ptr::without_provenance_mut(number)).unwrap()
    }

    fn key(addr: usize) -> Key {
        Key {
            addr,
            length: 4096,
            flags: 1,
        }
    }

    #[test]
    fn what_waits_is_found_for_the_same_only() {
        let mut kept = Kept::new().unwrap();
        kept.give_out(mr(8), key(4096));
        assert_eq!(kept.take(&key(4096)), None, "it is in use");
        assert_eq!(kept.end(mr(8)), None);
        for other in [
            key(8192),
            Key {
                flags: 0,
                ..key(4096)
            },
            Key {
                length: 8192,
                ..key(4096)
            },
        ] {
            assert_eq!(kept.take(&other), None);
        }
        assert_eq!(kept.take(&key(4096)), Some(mr(8)));
        assert_eq!(kept.take(&key(4096)), None);
    }

    #[test]
    fn what_was_pinned_never_waits() {
        let mut kept = Kept::new().unwrap();
        assert_eq!(kept.end(mr(8)), Some(mr(8)));
        kept.give_out(mr(8), key(4096));
        kept.forget(mr(8));
        assert_eq!(kept.end(mr(8)), Some(mr(8)), "another at the same address");
    }

    #[test]
    fn a_peers_key_ends_with_its_use() {
        for right in [1 << 1, 1 << 2, 1 << 3] {
            let mut kept = Kept::new().unwrap();
            let flags = 1 | right;
            kept.give_out(mr(8), Key { flags, ..key(4096) });
            assert_eq!(kept.end(mr(8)), Some(mr(8)));
            assert_eq!(kept.idle(true), None);
        }
    }

    #[test]
    fn the_longest_makes_room() {
        let mut kept = Kept::new().unwrap();
        for number in 1..=WAITING {
            kept.give_out(mr(number), key(number));
            assert_eq!(kept.end(mr(number)), None);
        }
        kept.give_out(mr(1000), key(1000));
        assert_eq!(kept.end(mr(1000)), Some(mr(1)));
        let mut left = 0;
        while kept.idle(true).is_some() {
            left += 1;
        }
        assert_eq!(left, WAITING);
    }

    #[test]
    fn one_for_all_addresses_ends_with_all_else() {
        let mut kept = Kept::new().unwrap();
        assert_eq!(kept.everything(1), None);
        assert_eq!(kept.is_everything(1, Some(mr(8))), (Some(mr(8)), None));
        assert_eq!(
            kept.is_everything(1, Some(mr(16))),
            (Some(mr(8)), Some(mr(16)))
        );
        assert_eq!(kept.is_everything(0, None), (None, None));
        assert_eq!(kept.everything(0), Some(None), "asked once");
        assert_eq!(kept.end(mr(8)), None);
        assert_eq!(kept.idle(false), None);
        assert_eq!(kept.idle(true), Some(mr(8)));
        assert_eq!(kept.idle(true), None);
    }

    #[test]
    fn a_range_that_comes_back_is_known() {
        let mut kept = Kept::new().unwrap();
        for times in 1..=5 {
            assert_eq!(kept.comes_back(&key(4096)), times);
        }
    }
}
