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

pub fn run(context: &Context) -> Result<(), String> {
    let times = context.effort.pick(5, 200, 3000);
    let mut runners = runners(context)?;
    let other = Switches::start()?;
    let mut switches = Vec::new();
    for time in 0..times {
        if time % 500 == 0 {
            context.progress(&format!("{time}/{times}"));
        }
        for runner in &mut runners {
            runner.turn()?;
        }
        switches.push(other.there_and_back());
    }
    let place = Place {
        chart: "munmap of a page that nobody watches",
        axis: "",
        at: "munmap",
        unit: context.time(),
    };
    for runner in &runners {
        context.row(place, &runner.name, &runner.unwatched, "");
    }
    let place = Place {
        chart: "munmap of a page that is watched",
        ..place
    };
    for runner in runners.iter().filter(|runner| !runner.watched.is_empty()) {
        context.row(place, &runner.name, &runner.watched, "");
    }
    // Of the same turn, so that whatever slowed one down did both.
    let plain = runners[0].unwatched.iter();
    let both: Vec<f64> = plain.zip(&switches).map(|(a, b)| a + b).collect();
    context.row(place, "floor: munmap, and two context switches", &both, "");
    context.row(place, "floor: two context switches", &switches, "");
    Ok(())
}
