// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cache should do, and how simply it can be said.

use kdreg::cache::Options;
use kdreg::range::Range;

#[derive(Clone, Debug)]
pub struct Entry {
    pub id: usize,
    pub range: Range,
    pub last_use: u64,
    pub held: usize,
    pub changed: bool,
    /// Findable, as far as the cache knows.
    pub live: bool,
}

/// What the cache should do, said as simply as possible.
pub struct Model {
    pub options: Options,
    pub capacity: usize,
    pub entries: Vec<Entry>,
    pub backlog: Vec<Range>,
    pub clock: u64,
    pub ids: usize,
    pub registered: Vec<Range>,
    pub deregistered: Vec<Range>,
}

impl Model {
    pub fn used(&self) -> usize {
        self.entries.iter().map(|e| e.range.len()).sum::<usize>()
            + self.backlog.iter().map(|r| r.len()).sum::<usize>()
    }

    pub fn release(&mut self, range: Range) {
        let waiting: usize = self.backlog.iter().map(|r| r.len()).sum();
        if self.options.max_unreleased > 0 && waiting + range.len() <= self.options.max_unreleased {
            self.backlog.push(range);
        } else {
            self.deregistered.push(range);
        }
    }

    pub fn release_backlog(&mut self) -> usize {
        let count = self.backlog.len();
        self.deregistered.append(&mut self.backlog);
        count
    }

    /// Drops entries; those in use stay, unfindable.
    pub fn drop_where(&mut self, now: bool, which: impl Fn(&Entry) -> bool) -> usize {
        let mut dropped = 0;
        self.entries.sort_by_key(|entry| entry.range.start());
        for entry in std::mem::take(&mut self.entries) {
            if !(entry.live && which(&entry)) {
                self.entries.push(entry);
                continue;
            }
            dropped += 1;
            if entry.held > 0 {
                self.entries.push(Entry {
                    live: false,
                    ..entry
                });
            } else if now {
                self.deregistered.push(entry.range);
            } else {
                self.release(entry.range);
            }
        }
        dropped
    }

    pub fn reap(&mut self) {
        self.drop_where(true, |entry| entry.changed);
        self.release_backlog();
    }

    /// Evicts the least recently used idle entry not inside `range`.
    pub fn evict(&mut self, range: Option<Range>, now: bool) -> Option<usize> {
        let (place, _) = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.live && e.held == 0 && !range.is_some_and(|r| r.contains(e.range)))
            .min_by_key(|(_, e)| e.last_use)?;
        let victim = self.entries.remove(place);
        if now {
            self.deregistered.push(victim.range);
        } else {
            self.release(victim.range);
        }
        Some(victim.range.len())
    }

    /// Registers with evict-and-retry.
    pub fn register(&mut self, range: Range) -> bool {
        while self.used() + range.len() > self.capacity {
            if self.release_backlog() > 0 {
                continue;
            }
            let mut freed = 0;
            while freed < range.len() {
                match self
                    .evict(Some(range), true)
                    .or_else(|| self.evict(None, true))
                {
                    Some(length) => freed += length,
                    None => break,
                }
            }
            if freed == 0 {
                return false;
            }
        }
        self.registered.push(range);
        true
    }

    /// Returns the id of the entry now held, or None for ENOMEM.
    pub fn get(&mut self, range: Range) -> Option<usize> {
        self.clock += 1;
        let clock = self.clock;
        let hit = self
            .entries
            .iter_mut()
            .find(|e| e.live && !e.changed && e.range.contains(range));
        if let Some(entry) = hit {
            (entry.last_use, entry.held) = (clock, entry.held + 1);
            return Some(entry.id);
        }
        self.reap();
        let inside: Vec<Range> = self
            .entries
            .iter()
            .filter(|e| e.live && range.contains(e.range))
            .map(|e| e.range)
            .collect();
        let fits = |model: &Model| {
            let live: Vec<&Entry> = model.entries.iter().filter(|e| e.live).collect();
            let bytes: usize = live.iter().map(|e| e.range.len()).sum();
            let gone: usize = inside.iter().map(|r| r.len()).sum();
            live.len() - inside.len() < model.options.max_entries
                && bytes - gone + range.len() <= model.options.max_bytes
        };
        // Nothing is evicted for what would not fit in the end.
        let evictable = self
            .entries
            .iter()
            .filter(|e| e.live && e.held == 0 && !range.contains(e.range));
        let (count, bytes) = evictable.fold((0, 0), |(c, b), e| (c + 1, b + e.range.len()));
        let live: Vec<&Entry> = self.entries.iter().filter(|e| e.live).collect();
        let all: usize = live.iter().map(|e| e.range.len()).sum();
        let gone: usize = inside.iter().map(|r| r.len()).sum();
        let mut kept = live.len() - inside.len() - count < self.options.max_entries
            && all - gone - bytes + range.len() <= self.options.max_bytes;
        while kept && !fits(self) {
            kept = self.evict(Some(range), false).is_some();
        }
        if !self.register(range) {
            return None;
        }
        if kept {
            self.drop_where(false, |entry| range.contains(entry.range));
        }
        self.ids += 1;
        self.entries.push(Entry {
            id: self.ids,
            range,
            last_use: clock,
            held: 1,
            changed: false,
            live: kept,
        });
        Some(self.ids)
    }

    pub fn put(&mut self, id: usize) {
        let place = self.entries.iter().position(|e| e.id == id).unwrap();
        self.entries[place].held -= 1;
        if self.entries[place].held == 0 && !self.entries[place].live {
            let entry = self.entries.remove(place);
            self.release(entry.range);
        }
    }
}
