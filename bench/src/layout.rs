// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the regions lie: address space of a subject's own, and keys in it.

use std::io;

/// A region to look up; plugins/plugin.h says the same in C.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub addr: usize,
    pub length: u32,
    pub index: u32,
}

pub const PAGE: usize = 4096;

/// Reserved address space: mapped, readable and writable, and as long as
/// nobody writes to it without memory behind it.
pub struct Arena {
    base: usize,
    length: usize,
}

impl Arena {
    pub fn new(length: usize) -> Result<Arena, String> {
        // SAFETY: a new mapping, which touches no other.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            let error = io::Error::last_os_error();
            return Err(format!("no address space of {} MiB: {error}", length >> 20));
        }
        Ok(Arena {
            base: base as usize,
            length,
        })
    }

    pub fn base(&self) -> usize {
        self.base
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping is this arena's alone; what was looked up in it
        // is closed first (see `Lane`).
        unsafe { libc::munmap(self.base as *mut _, self.length) };
    }
}

/// How regions lie to each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// 4 to 64 KiB each, one after the other, with one hole in the middle.
    Packed,
    /// As packed, with a page free after each.
    Gapped,
    /// One page each, all over 4 TiB.
    Scattered,
}

/// The hole in the middle of a packed layout: no region lies there.
pub const HOLE: usize = 16 * PAGE;
const SCATTER: usize = 1 << 42;

/// A small generator of numbers, the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        (high as usize * bound) >> 32
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Regions by number, relative to an arena's base.
pub struct Regions {
    keys: Vec<Key>,
    span: usize,
}

impl Regions {
    pub fn new(layout: Layout, count: usize) -> Regions {
        let mut random = Random::new(count as u64);
        let mut keys = Vec::with_capacity(count);
        let mut next = 0;
        for index in 0..count {
            let (addr, length) = match layout {
                Layout::Packed | Layout::Gapped => {
                    next += match layout {
                        Layout::Gapped if index > 0 => PAGE,
                        Layout::Packed if index == count / 2 => HOLE,
                        _ => 0,
                    };
                    let length = (1 + random.below(16)) * PAGE;
                    next += length;
                    (next - length, length)
                }
                Layout::Scattered => {
                    let stride = SCATTER / PAGE / count;
                    let page = index * stride + random.below(stride - 1);
                    (page * PAGE, PAGE)
                }
            };
            keys.push(Key {
                addr,
                length: length as u32,
                index: index as u32,
            });
        }
        let span = match layout {
            Layout::Packed | Layout::Gapped => next + PAGE,
            Layout::Scattered => SCATTER,
        };
        Regions { keys, span }
    }

    /// So many of the pages that follow a region, at random, as addresses in
    /// `arena`; of a layout that leaves them free.
    pub fn between(&self, arena: &Arena, count: usize) -> Vec<usize> {
        let mut random = Random::new(5);
        let mut page = || {
            let key = &self.keys[random.below(self.keys.len())];
            arena.base() + key.addr + key.length as usize
        };
        (0..count).map(|_| page()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn arena(&self) -> Result<Arena, String> {
        Arena::new(self.span)
    }

    /// The keys in `arena`, in the order of their addresses.
    pub fn keys(&self, arena: &Arena) -> Vec<Key> {
        let moved = |key: &Key| Key {
            addr: key.addr + arena.base(),
            ..*key
        };
        self.keys.iter().map(moved).collect()
    }
}

/// `keys` in random order, repeated in other orders up to `at_least` of them.
pub fn shuffled(keys: &[Key], at_least: usize) -> Vec<Key> {
    let mut random = Random::new(7);
    let mut order: Vec<Key> = Vec::with_capacity(at_least + keys.len());
    while order.len() < at_least.max(1) {
        let from = order.len();
        order.extend_from_slice(keys);
        random.shuffle(&mut order[from..]);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_disjoint_and_leave_the_hole_free() {
        for layout in [Layout::Packed, Layout::Gapped, Layout::Scattered] {
            let regions = Regions::new(layout, 1000);
            for pair in regions.keys.windows(2) {
                assert!(pair[0].addr + pair[0].length as usize <= pair[1].addr);
            }
            let last = regions.keys.last().unwrap();
            assert!(last.addr + last.length as usize <= regions.span);
        }
        let gapped = Regions::new(Layout::Gapped, 1000);
        let arena = Arena::new(PAGE).unwrap();
        for addr in gapped.between(&arena, 1000) {
            let page = addr - arena.base();
            assert!(page + PAGE <= gapped.span);
            let apart =
                |key: &Key| key.addr >= page + PAGE || key.addr + key.length as usize <= page;
            assert!(gapped.keys.iter().all(apart));
        }
        let packed = Regions::new(Layout::Packed, 1000).keys;
        let before = packed[499].addr + packed[499].length as usize;
        assert_eq!(packed[500].addr - before, HOLE);
    }

    #[test]
    fn every_key_is_in_the_order() {
        let regions = Regions::new(Layout::Packed, 100);
        let order = shuffled(&regions.keys, 150);
        assert_eq!(order.len(), 200);
        let mut seen: Vec<u32> = order[..100].iter().map(|key| key.index).collect();
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..100));
    }
}
