// SPDX-License-Identifier: MIT OR Apache-2.0
//! Micro-benchmarks by criterion, of the Rust API on a backend that costs
//! nothing: `cargo bench -p kdreg-bench --features micro`. For following one
//! operation while working on it; to compare with others, `make bench`.

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use kdreg::cache::{Cache, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::Monitor;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::hint::black_box;
use std::sync::Arc;

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;

struct Nothing;

impl Registrar for Nothing {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        Ok(Handle(range.start()))
    }
    fn deregister(&self, _range: Range, _handle: Handle) {}
}

fn region(number: usize) -> Range {
    Range::new(BASE + 2 * number * PAGE, PAGE).expect("a range of one page")
}

/// What a cache stands on: a monitor that costs nothing, or one that can be
/// told of changes.
type Opener = fn() -> Result<(Arc<Manual>, Monitor), Errno>;
const AT_NO_COST: Opener = Manual::open_unmatched;
const WITH_A_TREE: Opener = Manual::open;

/// A cache with so many regions, and room for as many.
fn filled(open: Opener, count: usize) -> (Arc<Manual>, Cache) {
    let (manual, monitor) = open().expect("the test backend");
    let options = Options {
        max_entries: count,
        no_merge: true,
        no_reaper: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(Nothing)).expect("a cache");
    for number in 0..count {
        drop(cache.get(region(number), 1).expect("a registration"));
    }
    (manual, cache)
}

/// A number after another in an order that no prefetcher knows.
fn next(number: usize, count: usize) -> usize {
    (number + 7_368_787) % count
}

fn hit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("get and put");
    for count in [1, 100, 10_000, 100_000] {
        let (_manual, cache) = filled(AT_NO_COST, count);
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                number = next(number, count);
                black_box(cache.get(region(number), 1).expect("a hit"));
            });
        });
    }
}

fn miss(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("register and evict");
    for count in [100, 10_000] {
        let (_manual, cache) = filled(AT_NO_COST, count);
        let mut number = 0;
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                // Round twice as many as fit: what is asked for has gone.
                number = (number + 1) % (2 * count);
                black_box(cache.get(region(number), 1).expect("a registration"));
            });
        });
    }
}

fn change(criterion: &mut Criterion) {
    let (manual, cache) = filled(WITH_A_TREE, 100_000);
    criterion.bench_function("a change that covers none of 100,000", |bencher| {
        let between = Range::new(BASE + PAGE, PAGE).expect("a range of one page");
        bencher.iter(|| manual.change(black_box(between)));
    });
    let mut number = 0;
    criterion.bench_function("a change that covers one of 100,000", |bencher| {
        bencher.iter_batched(
            || {
                number = next(number, 100_000);
                drop(cache.get(region(number), 1).expect("a registration"));
                region(number)
            },
            |range| manual.change(range),
            BatchSize::SmallInput,
        );
    });
}

fn invalidation(criterion: &mut Criterion) {
    let (_manual, cache) = filled(AT_NO_COST, 100_000);
    let mut number = 0;
    criterion.bench_function("invalidate, covering none of 100,000", |bencher| {
        bencher.iter(|| {
            number = next(number, 100_000);
            let between = region(number).start() + PAGE;
            let between = Range::new(between, PAGE).expect("a range of one page");
            black_box(cache.invalidate(between).expect("a cache of this process"))
        });
    });
    criterion.bench_function("invalidate, covering one of 100,000", |bencher| {
        bencher.iter_batched(
            || {
                number = next(number, 100_000);
                drop(cache.get(region(number), 1).expect("a registration"));
                region(number)
            },
            |range| cache.invalidate(range).expect("a cache of this process"),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, hit, miss, change, invalidation);
criterion_main!(benches);
