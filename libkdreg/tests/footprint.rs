// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a cached region costs in memory, all told, and that it does not grow.
//!
//! Everything that grows with the number of regions lives in mappings of the
//! library's own (no allocation on those paths, see `quiet.rs`), so what the
//! process has resident beyond its start is what the regions cost. Alone in a
//! process: one test, and what it does comes in order.
//!
//! The long run, which tells how far it is:
//!
//!     KDREG_FOOTPRINT_CYCLES=100000000 cargo test --release -p libkdreg --test footprint -- --nocapture

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;
const REGIONS: usize = 100_000;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

/// Bytes of this process that are in memory; statm may be wrong by what each
/// processor has counted and not yet handed in.
fn resident() -> usize {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
    kilobytes.trim().parse::<usize>().unwrap() * 1024
}

/// A huge page would be counted whole, however little of it is used.
fn small_pages() {
    // SAFETY: no pointers.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// Regions with room between them, so that none is merged.
fn region(index: usize) -> Range {
    Range::new(BASE + index * 4 * PAGE, 2 * PAGE).unwrap()
}

/// Says on standard error how far a long run is.
struct Watch {
    cycles: usize,
    began: Instant,
    said: Instant,
    /// The largest growth seen so far, in bytes.
    most: usize,
}

impl Watch {
    fn new(cycles: usize) -> Watch {
        let began = Instant::now();
        Watch {
            cycles,
            began,
            said: began,
            most: 0,
        }
    }

    fn look(&mut self, cycle: usize, more: usize) {
        self.most = self.most.max(more);
        let pause = match self.began.elapsed().as_secs() {
            0..60 => 1,
            _ => 15,
        };
        if self.said.elapsed() < Duration::from_secs(pause) {
            return;
        }
        self.said = Instant::now();
        let spent = self.began.elapsed().as_secs_f64();
        let left = spent / cycle as f64 * (self.cycles - cycle) as f64;
        eprintln!(
            "{cycle} of {} cycles, {:.0} %: {more} bytes more than at the start; some {left:.0} s left",
            self.cycles,
            cycle as f64 / self.cycles as f64 * 100.0
        );
    }
}

#[test]
fn a_region_costs_at_most_192_bytes_and_cycles_cost_nothing() {
    small_pages();
    let options = |max_entries| Options {
        max_entries,
        no_reaper: true,
        ..Options::default()
    };
    // The code itself comes into memory first.
    let (manual, monitor) = Manual::open().unwrap();
    let cache = Cache::new(&monitor, options(100), Box::new(Nothing)).unwrap();
    for index in 0..300 {
        drop(cache.get(region(index), 1).unwrap());
    }
    cache.statistics().unwrap();
    drop((cache, monitor, manual));

    let (_manual, monitor) = Manual::open().unwrap();
    let cache = Cache::new(&monitor, options(REGIONS), Box::new(Nothing)).unwrap();
    drop(cache.get(region(0), 1).unwrap());
    let start = resident();
    for index in 0..REGIONS {
        drop(cache.get(region(index), 1).unwrap());
    }
    assert_eq!(cache.statistics().unwrap().entries as usize, REGIONS);
    let each = (resident() - start) as f64 / (REGIONS - 1) as f64;
    println!("{each:.1} bytes for each of {REGIONS} regions");
    assert!(each <= 192.0, "{each:.1} bytes for each region");

    // Used in the order that suits the eviction order least: a registration
    // then finds every entry out of its place.
    for index in (0..REGIONS).rev() {
        drop(cache.get(region(index), 1).unwrap());
    }
    drop(cache.get(region(REGIONS), 1).unwrap());
    let worst = (resident() - start) as f64 / (REGIONS - 1) as f64;
    println!("{worst:.1} bytes when all were used out of order");
    assert!(worst <= 192.0, "{worst:.1} bytes for each region");
    let full = resident();
    assert_eq!(cache.statistics().unwrap().evictions, 1);

    let cycles = std::env::var("KDREG_FOOTPRINT_CYCLES")
        .map_or(300_000, |text| text.parse::<usize>().expect("a number"));
    let mut watch = Watch::new(cycles);
    for cycle in 0..cycles {
        if cycle % 100_000 == 0 {
            watch.look(cycle, resident().saturating_sub(full));
        }
        // Each a region that is not there, in the place of the oldest.
        drop(
            cache
                .get(region(REGIONS + 1 + cycle % (2 * REGIONS)), 1)
                .unwrap(),
        );
    }
    let counts = cache.statistics().unwrap();
    assert_eq!(
        counts.evictions as usize,
        counts.registrations as usize - REGIONS
    );
    assert_eq!(counts.hits as usize, REGIONS + 1);
    let after = resident();
    println!(
        "{cycles} cycles of register and evict with {REGIONS} regions held: {} bytes more at the end, {} at most, {:.0} s",
        after.saturating_sub(full),
        watch.most.max(after.saturating_sub(full)),
        watch.began.elapsed().as_secs_f64()
    );
    assert!(
        after <= full + 256 * 1024,
        "resident size grew from {full} to {after} bytes in {cycles} cycles"
    );
}
