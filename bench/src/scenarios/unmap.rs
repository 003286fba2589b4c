// SPDX-License-Identifier: MIT OR Apache-2.0
//! What munmap costs the application that a cache serves.

use super::bare::{Reader, Switches, Waiting};
use super::{Context, Place};
use crate::layout::{Key, Layout, PAGE, Regions};
use crate::measure::Lane;
use crate::subjects::{Kind, Setup};
use std::io;
use std::time::Instant;

pub const NOBODY: &str = "no library";
pub const READER: &str = "floor: userfaultfd, a thread in read";

/// A page at a place of its own, away from what is monitored.
struct Spot(usize);

impl Spot {
    /// Its surroundings stay reserved for ever, so that nobody is given them.
    fn new() -> Result<Spot, String> {
        let around = crate::layout::Arena::new(PAGE * 512)?;
        let base = around.base();
        std::mem::forget(around);
        Ok(Spot(base + PAGE * 256))
    }

    /// Maps the page and touches it.
    fn map(&self) -> Result<(), String> {
        // SAFETY: in this spot's reserved surroundings.
        let at = unsafe {
            libc::mmap(
                self.0 as *mut _,
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().to_string());
        }
        // SAFETY: mapped just now, writable.
        unsafe { at.cast::<u8>().write_volatile(1) };
        Ok(())
    }

    fn unmap(&self) -> f64 {
        let start = Instant::now();
        // SAFETY: this spot's page, which nothing else uses.
        unsafe { libc::munmap(self.0 as *mut _, PAGE) };
        start.elapsed().as_secs_f64() * 1e9
    }
}

/// What is unmapped beside, and how long each munmap took.
struct Runner {
    name: String,
    watcher: Watcher,
    spot: Spot,
    unwatched: Vec<f64>,
    watched: Vec<f64>,
}

enum Watcher {
    Nobody,
    Cache(Lane),
    Bare(Reader),
}

impl Runner {
    fn new(name: &str, watcher: Watcher) -> Result<Runner, String> {
        Ok(Runner {
            name: name.into(),
            watcher,
            spot: Spot::new()?,
            unwatched: Vec::new(),
            watched: Vec::new(),
        })
    }

    fn turn(&mut self) -> Result<(), String> {
        self.spot.map()?;
        self.unwatched.push(self.spot.unmap());
        if matches!(self.watcher, Watcher::Nobody) {
            return Ok(());
        }
        self.spot.map()?;
        match &self.watcher {
            Watcher::Nobody => {}
            Watcher::Cache(lane) => lane.cache.hit(&[Key {
                addr: self.spot.0,
                length: PAGE as u32,
                index: 0,
            }])?,
            Watcher::Bare(reader) => reader.watch(self.spot.0, PAGE)?,
        }
        self.watched.push(self.spot.unmap());
        Ok(())
    }
}

/// The runners: no library, ours, and the kernel alone.
fn runners(context: &Context) -> Result<Vec<Runner>, String> {
    let count = context.at_most(context.effort.pick(16, 1000, 10_000));
    let regions = Regions::new(Layout::Packed, count);
    let mut runners = vec![Runner::new(NOBODY, Watcher::Nobody)?];
    for subject in context.field.caches() {
        let watches = subject.name.starts_with("libkdreg: ") && !subject.name.ends_with("(Rust)");
        if subject.kind == Kind::Own && watches {
            context.progress(&format!("filling {}", subject.name));
            let lane = Lane::open(&subject, &regions, Setup::holding(count + 8))?;
            lane.fill()?;
            runners.push(Runner::new(&subject.name, Watcher::Cache(lane))?);
        }
    }
    for (name, waiting) in [
        (READER, Waiting::Read),
        ("floor: userfaultfd, poll and read", Waiting::Poll),
    ] {
        match Reader::start(waiting) {
            Ok(reader) => runners.push(Runner::new(name, Watcher::Bare(reader))?),
            // An old kernel: then libkdreg has no such backend either.
            Err(why) => context.progress(&format!("without {name}: {why}")),
        }
    }
    Ok(runners)
}

/// The processors that this process may use.
fn processors() -> Vec<usize> {
    // SAFETY: a set of bits, which the call fills.
    let (failed, set) = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let failed = libc::sched_getaffinity(0, size_of_val(&set), &raw mut set);
        (failed != 0, set)
    };
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: looks at a bit of the set, which has so many.
    let allowed = all.filter(|&cpu| !failed && unsafe { libc::CPU_ISSET(cpu, &set) });
    allowed.collect()
}

/// Keeps this thread, and those that it starts, on these processors.
fn stay_on(processors: &[usize]) {
    // SAFETY: a set of bits that is filled here; a refusal leaves things as they are.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for &processor in processors {
            libc::CPU_SET(processor, &mut set);
        }
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

pub fn run(context: &Context) -> Result<(), String> {
    let all = processors();
    let first = all.first().copied().unwrap_or(0);
    // A wake-up of another processor costs many times as much as a context
    // switch on this one, and a thread tends to stay where it is: left to
    // chance, the numbers would compare processors.
    let mut pairs = vec![("the same processor", first)];
    pairs.extend(all.get(1).map(|&second| ("another processor", second)));
    for (number, (watchers, processor)) in pairs.into_iter().enumerate() {
        stay_on(&[processor]);
        let started = runners(context).and_then(|runners| Ok((runners, Switches::start()?)));
        stay_on(&[first]);
        let (mut runners, other) = started?;
        let switches = turns(context, watchers, &mut runners, &other)?;
        rows(context, watchers, number == 0, &runners, &switches);
    }
    stay_on(&all);
    Ok(())
}

fn turns(
    context: &Context,
    watchers: &str,
    runners: &mut [Runner],
    other: &Switches,
) -> Result<Vec<f64>, String> {
    let times = context.effort.pick(5, 200, 2000);
    let mut switches = Vec::new();
    for time in 0..times {
        if time % 500 == 0 {
            context.progress(&format!("watchers on {watchers}: {time}/{times}"));
        }
        for runner in &mut *runners {
            runner.turn()?;
        }
        switches.push(other.there_and_back());
    }
    Ok(switches)
}

fn rows(context: &Context, watchers: &str, is_first: bool, runners: &[Runner], switches: &[f64]) {
    let mut place = Place {
        chart: "munmap of a page that nobody watches",
        axis: "",
        at: "munmap",
        unit: context.time(),
    };
    for runner in runners.iter().filter(|_| is_first) {
        context.row(place, &runner.name, &runner.unwatched, "");
    }
    let chart = format!("munmap of a page that is watched, by threads on {watchers}");
    place.chart = &chart;
    for runner in runners.iter().filter(|runner| !runner.watched.is_empty()) {
        context.row(place, &runner.name, &runner.watched, "");
    }
    // Of the same turn, so that whatever slowed one down did both.
    let plain = runners[0].unwatched.iter();
    let both: Vec<f64> = plain.zip(switches).map(|(a, b)| a + b).collect();
    context.row(place, "floor: munmap, and two context switches", &both, "");
    context.row(place, "floor: two context switches", switches, "");
}
