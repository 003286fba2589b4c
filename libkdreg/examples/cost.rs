// SPDX-License-Identifier: MIT OR Apache-2.0
//! Does one kind of operation so many times, on a backend that costs nothing:
//! to be run under an instruction counter (scripts/check-instructions.sh), or
//! by hand for a time.
//!
//!     cost KIND REGIONS OPERATIONS
//!
//! KIND: `hit` (get and put through the C interface), `rust` (the same in
//! Rust), `interior` (at an address inside a region), `find`, `shared` (hits
//! of a thread that is not the region's own), `in-turn` (the same of regions
//! that two threads used in turn before), `list`, `list-miss` (a range of a list),
//! `drop`, `evict` (one entry, registered before), `each` (of so many entries), `data`, `caps`, `info`, `log`,
//! `prefetch`, `drain`, `group`, `group-evict`, `group-made`, `miss` (register and evict),
//! `unrelated` (change ranges that cover nothing), `hole` (always the
//! same one), `change` (one region each), `told`, `told-hole` (the first two
//! by way of the cache's own tree: tell it), `relaxed` (as `rust`, behind the guard of relaxed userfaultfd),
//! `two-own`, `two-one` (hits of two threads, on their own regions or all on
//! one), `two-atomics` (two threads on one counter), `atomics` (two uncontended read-modify-writes, to compare with).

use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::ffi;
use kdreg::monitor::Monitor;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::hint::black_box;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[path = "cost/calls.rs"]
mod calls;
#[path = "cost/groups.rs"]
mod groups;
#[path = "cost/lists.rs"]
mod lists;
#[path = "cost/two.rs"]
mod two;

/// The processor time of this process: other programs do not count.
#[derive(Clone, Copy)]
struct Instant(Duration);

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

// Declared here, so that the program needs nothing but the library and can be
// built without its development dependencies.
unsafe extern "C" {
    fn clock_gettime(clock: i32, time: *mut Timespec) -> i32;
}

const CLOCK_PROCESS_CPUTIME_ID: i32 = 2;

impl Instant {
    fn now() -> Instant {
        let mut time = Timespec {
            seconds: 0,
            nanoseconds: 0,
        };
        // SAFETY: writes the time into a local variable.
        unsafe { clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
        Instant(Duration::new(time.seconds as u64, time.nanoseconds as u32))
    }

    fn elapsed(self) -> Duration {
        Instant::now().0 - self.0
    }
}

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

/// Region `index`: pages apart, so that nothing merges.
fn start_of(index: usize) -> usize {
    BASE + index * 4 * PAGE
}

/// A fixed pseudorandom order.
fn order(regions: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..regions).collect();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for place in (1..regions).rev() {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        order.swap(place, random as usize % (place + 1));
    }
    order
}

unsafe extern "C" fn register(
    _: *mut std::ffi::c_void,
    addr: *mut std::ffi::c_void,
    _: usize,
    _: u32,
    handle: *mut *mut std::ffi::c_void,
) -> i32 {
    // SAFETY: the cache hands in a place for the handle.
    unsafe { *handle = addr };
    0
}

unsafe extern "C" fn deregister(
    _: *mut std::ffi::c_void,
    _: *mut std::ffi::c_void,
    _: usize,
    _: *mut std::ffi::c_void,
) -> i32 {
    0
}

/// A cache of so many entries, by its C handle; 0: of as many as there can be.
fn cache_in_c(monitor: Monitor, max_entries: usize) -> *mut ffi::kdreg_cache_t {
    cache_of(monitor, max_entries, null_mut())
}

/// The same of a group, if there is one.
fn cache_of(
    monitor: Monitor,
    max_entries: usize,
    group: *mut ffi::kdreg_group_t,
) -> *mut ffi::kdreg_cache_t {
    let monitor = ffi::open_monitor(monitor).unwrap();
    let attr = ffi::cache::kdreg_cache_attr {
        size: size_of::<ffi::cache::kdreg_cache_attr>(),
        reg: Some(register),
        dereg: Some(deregister),
        max_entries,
        group,
        flags: ffi::cache::KDREG_CACHE_NO_REAPER,
        // SAFETY: integers, pointers and functions that may be null.
        ..unsafe { std::mem::zeroed() }
    };
    let mut cache = null_mut();
    let made = ffi::cache::kdreg_cache_create(monitor, &raw const attr, &raw mut cache);
    assert_eq!(made, 0);
    // The cache carries on without it.
    assert_eq!(ffi::monitor::kdreg_close(monitor), 0);
    cache
}

/// `kdreg_cache_get` or `_find`, and `_put`, so many times.
fn in_c(regions: usize, operations: usize, offset: usize, find: bool) -> Duration {
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = cache_in_c(monitor, regions);
    // Neither the only one nor the newest.
    cache_in_c(Manual::open().unwrap().1, regions);
    let order = order(regions);
    let call = if find {
        ffi::cache::kdreg_cache_find
    } else {
        ffi::cache::kdreg_cache_get
    };
    let mut entry = null_mut();
    for round in 0..3 {
        for &index in &order {
            let address = start_of(index) + if round == 0 { 0 } else { offset };
            let length = if round == 0 { 2 * PAGE } else { 64 };
            let get = if round == 0 {
                ffi::cache::kdreg_cache_get
            } else {
                call
            };
            assert_eq!(
                get(cache, address as *const _, length, 1, &raw mut entry),
                0
            );
            assert_eq!(ffi::cache::kdreg_cache_put(cache, entry), 0);
        }
    }
    let began = Instant::now();
    let mut next = 0;
    for _ in 0..operations {
        let address = start_of(order[next]) + offset;
        next = if next + 1 == regions { 0 } else { next + 1 };
        black_box(call(cache, address as *const _, 64, 1, &raw mut entry));
        black_box(ffi::cache::kdreg_cache_put(cache, entry));
    }
    began.elapsed()
}

/// How a hit in Rust differs from the plainest.
#[derive(PartialEq, Eq)]
enum Variant {
    Plain,
    /// By a thread that did not make the entries.
    Elsewhere,
    /// Of entries that another thread used in turn with this one.
    InTurn,
    /// With a guard to be looked at.
    Guarded,
}

/// Two threads use each region in turn, until the cache counts for both.
fn take_turns(regions: usize, use_it: impl Fn(usize) + Sync) {
    let (first, second) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..1000 {
                (0..regions).for_each(&use_it);
                first.wait();
                second.wait();
            }
        });
        for _ in 0..1000 {
            first.wait();
            (0..regions).for_each(&use_it);
            second.wait();
        }
    });
}

fn in_rust(regions: usize, operations: usize, variant: Variant) -> Duration {
    let (_manual, monitor) = if variant == Variant::Guarded {
        Manual::open_guarded().unwrap()
    } else {
        Manual::open().unwrap()
    };
    let options = Options {
        max_entries: regions,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    let order = order(regions);
    let range = |index| Range::new(start_of(index), 2 * PAGE).unwrap();
    for _ in 0..3 {
        for &index in &order {
            drop(cache.get(range(index), 1).unwrap());
        }
    }
    if variant == Variant::InTurn {
        take_turns(regions, |index| drop(cache.get(range(index), 1).unwrap()));
    }
    let run = || {
        let began = Instant::now();
        let mut next = 0;
        for _ in 0..operations {
            let held = cache.get(range(order[next]), 1).unwrap();
            next = if next + 1 == regions { 0 } else { next + 1 };
            drop(black_box(held));
        }
        began.elapsed()
    };
    if variant == Variant::Elsewhere {
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    } else {
        run()
    }
}

fn misses(regions: usize, operations: usize) -> Duration {
    // What the kernel backend keeps in this process, and no tree.
    let (_manual, monitor) = Manual::open_unmatched().unwrap();
    let options = Options {
        max_entries: regions,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    // One more than fits, in turn: each is the one that was just evicted.
    let order = order(regions + 1);
    let mut next = 0;
    let mut step = || {
        let range = Range::new(start_of(order[next]), 2 * PAGE).unwrap();
        next = if next == regions { 0 } else { next + 1 };
        drop(black_box(cache.get(range, 1).unwrap()));
    };
    (0..2 * regions).for_each(|_| step());
    let began = Instant::now();
    (0..operations).for_each(|_| step());
    let counts = cache.statistics().unwrap();
    assert_eq!(counts.hits, 0);
    began.elapsed()
}

fn changes(regions: usize, operations: usize, kind: &str) -> Duration {
    let (manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: regions,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).unwrap();
    let order = order(regions);
    for &index in &order {
        let range = Range::new(start_of(index), 2 * PAGE).unwrap();
        drop(cache.get(range, 1).unwrap());
    }
    assert!(kind != "change" || operations <= regions);
    let began = Instant::now();
    for operation in 0..operations {
        let index = match kind {
            "hole" | "told-hole" => regions / 2,
            _ => order[operation % regions],
        };
        let gap = if kind == "change" { 0 } else { 2 * PAGE };
        let range = Range::new(start_of(index) + gap, PAGE).unwrap();
        if kind.starts_with("told") {
            black_box(cache.invalidate(range).unwrap());
        } else {
            manual.change(range);
        }
    }
    began.elapsed()
}

fn atomics(operations: usize) -> Duration {
    let count = AtomicU64::new(0);
    let began = Instant::now();
    for _ in 0..operations {
        black_box(&count).fetch_add(1, Ordering::Acquire);
        black_box(&count).fetch_sub(1, Ordering::Release);
    }
    began.elapsed()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, regions, operations] = arguments.as_slice() else {
        eprintln!("usage: cost KIND REGIONS OPERATIONS");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let (regions, operations) = (number(regions), number(operations));
    let kind = kind.clone();
    // Without the time that taking it all down takes.
    let spent = match kind.as_str() {
        "hit" => in_c(regions, operations, 0, false),
        "interior" => in_c(regions, operations, PAGE + 512, false),
        "find" => in_c(regions, operations, 0, true),
        "with" | "try" | "hold" | "check" | "pin" => calls::on_entries(regions, operations, &kind),
        "drop" | "evict" => calls::ending(regions, operations, &kind),
        "each" | "data" | "caps" | "info" => calls::asking(regions, operations, &kind),
        "log" => calls::listening(operations),
        "group" | "group-evict" => groups::shared(regions, operations, &kind),
        "group-made" => groups::made(operations),
        "drain" => groups::drained(regions, operations),
        "prefetch" => groups::ahead(regions, operations),
        "rust" => in_rust(regions, operations, Variant::Plain),
        "shared" => in_rust(regions, operations, Variant::Elsewhere),
        "in-turn" => in_rust(regions, operations, Variant::InTurn),
        "relaxed" => in_rust(regions, operations, Variant::Guarded),
        "list" | "list-miss" => lists::scattered(regions, operations, kind == "list-miss"),
        "miss" => misses(regions, operations),
        "unrelated" | "hole" | "change" | "told" | "told-hole" => {
            changes(regions, operations, &kind)
        }
        "two-own" | "two-one" | "two-atomics" => two::at_once(regions, operations, &kind),
        "atomics" => atomics(operations),
        _ => {
            eprintln!("no such kind: {kind}");
            std::process::exit(2);
        }
    };
    let each = spent.as_nanos() as f64 / operations as f64;
    println!("{kind} {regions} regions: {each:.1} ns");
}
