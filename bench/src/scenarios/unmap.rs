// SPDX-License-Identifier: MIT OR Apache-2.0
//! What munmap costs the application that a cache serves.

use super::{Context, Place};
use crate::layout::{Key, Layout, PAGE, Regions};
use crate::measure::Lane;
use crate::subjects::{Kind, Setup};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Instant;

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

pub fn run(context: &Context) -> Result<(), String> {
    let count = context.at_most(context.effort.pick(16, 1000, 10_000));
    let times = context.effort.pick(5, 200, 1000);
    let regions = Regions::new(Layout::Packed, count);
    let mut lanes = vec![("no library".to_string(), None)];
    let watching = |name: &str| name.starts_with("libkdreg: ") && !name.contains("no monitor");
    for subject in context.field.caches() {
        if subject.kind == Kind::Own && watching(&subject.name) {
            let lane = Lane::open(&subject, &regions, Setup::holding(count + 8))?;
            lane.fill()?;
            lanes.push((subject.name.clone(), Some(lane)));
        }
    }
    let mut unwatched = vec![Vec::new(); lanes.len()];
    let mut cached = vec![Vec::new(); lanes.len()];
    let spots: Vec<Spot> = lanes
        .iter()
        .map(|_| Spot::new())
        .collect::<Result<_, _>>()?;
    for time in 0..times {
        if time % 200 == 0 {
            context.progress(&format!("{time}/{times}"));
        }
        for (place, (_, lane)) in lanes.iter().enumerate() {
            let spot = &spots[place];
            spot.map()?;
            unwatched[place].push(spot.unmap());
            if let Some(lane) = lane {
                spot.map()?;
                let page = Key {
                    addr: spot.0,
                    length: PAGE as u32,
                    index: 0,
                };
                lane.cache.hit(&[page])?;
                cached[place].push(spot.unmap());
            }
        }
    }
    let mut place = Place {
        chart: "munmap of a page",
        axis: "the page is",
        at: "",
        unit: context.time(),
    };
    for (number, (name, _)) in lanes.iter().enumerate() {
        place.at = "not watched";
        context.row(place, name, &unwatched[number], "");
        if !cached[number].is_empty() {
            place.at = "cached";
            context.row(place, name, &cached[number], "");
        }
    }
    place.at = "cached";
    let switches = two_switches(times)?;
    context.row(place, "floor: two context switches", &switches, "");
    Ok(())
}

/// Wakes another thread and is woken by it: what a thread cannot do without
/// that waits for another.
fn two_switches(times: usize) -> Result<Vec<f64>, String> {
    let bell = || {
        // SAFETY: makes a descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error().to_string());
        }
        // SAFETY: made just now, owned by nobody else.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    };
    let (there, back) = (bell()?, bell()?);
    let ring = |bell: &OwnedFd| {
        let one = 1u64;
        // SAFETY: 8 bytes, as an eventfd wants.
        unsafe { libc::write(bell.as_raw_fd(), (&raw const one).cast(), 8) };
    };
    let wait = |bell: &OwnedFd| {
        let mut count = 0u64;
        // SAFETY: 8 bytes, as an eventfd wants.
        unsafe { libc::read(bell.as_raw_fd(), (&raw mut count).cast(), 8) };
    };
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..times {
                wait(&there);
                ring(&back);
            }
        });
        (0..times)
            .map(|_| {
                let start = Instant::now();
                ring(&there);
                wait(&back);
                start.elapsed().as_secs_f64() * 1e9
            })
            .collect()
    }))
}
