// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured. Each scenario runs in a process of its own, so that what
//! one library does to its process (hooks, arenas, a crash) stays there.

mod bare;
mod delay;
pub mod growth;
mod hit;
mod instructions;
pub mod invalidate;
mod memory;
mod miss;
mod threads;
pub mod unmap;
mod valid;

use crate::measure::Summary;
use crate::options::{Effort, Options};
use crate::row::Row;
use crate::subjects::{Field, Subject};
use std::io::{IsTerminal, Write};

/// A scenario by name, and what its numbers mean.
pub struct Scenario {
    pub name: &'static str,
    pub title: &'static str,
    pub means: &'static str,
    run: fn(&Context) -> Result<(), String>,
}

pub const ALL: [Scenario; 11] = [
    Scenario {
        name: "hit",
        title: "A hit: get and put of a cached region",
        means: "Processor time per get and put, one thread, regions in random order. Packed: 4 to 64 KiB each, side by side; \
                scattered: one page each over 4 TiB. Each was found once before. The floors are no caches: what a hit cannot do without. \
                It does not say what a transfer costs, and beyond 100,000 regions it is mostly memory latency.",
        run: hit::hit,
    },
    Scenario {
        name: "find",
        title: "find of a base and of an interior address",
        means: "Processor time per find and put in a cache of 10,000 regions; each interior address was looked up once before.",
        run: hit::find,
    },
    Scenario {
        name: "threads",
        title: "Hits by several threads",
        means: "Gets and puts per second of all threads together. With more threads than processors they share them: \
                the line can then at best stay level. The processor time of each, all threads' and the kernel's, shows what \
                a shared lock or cache line costs on a machine that has other things to do, but not the waiting.",
        run: threads::run,
    },
    Scenario {
        name: growth::NAME,
        title: "A hit by regions and threads",
        means: "Processor time per get and put, all threads' together, in a cache of so many regions: each thread has its share of \
                them, in random order, or where there are fewer regions than threads, one of them with others. With more threads \
                than processors they share these. Each region was found before by the thread that is measured.",
        run: growth::run,
    },
    Scenario {
        name: "delay",
        title: "Hits while another thread changes the cache",
        means: "How long hits take that one thread makes, one every 20 us, a look at the clock included, while a second \
                thread registers one region after the other (1 ms each, evicting when full), or registers and \
                invalidates without a pause. The maximum also holds what the scheduler did.",
        run: delay::run,
    },
    Scenario {
        name: "miss",
        title: "A miss: register, and make room",
        means: "Processor time per get and put when every get registers anew, by callbacks that do nothing, and evicts another region; \
                or when each region is invalidated after its use, by kdreg_cache_invalidate and by ucm_vm_munmap, as UCX 1.13 evicts \
                nothing. No monitor keeps of a region what the kernel backend keeps in user space, and nothing else; \
                a monitor with a tree finds regions by address, as userfaultfd has to. On userfaultfd this holds the system calls \
                that watch and unwatch the memory.",
        run: miss::run,
    },
    Scenario {
        name: "invalidate",
        title: "Invalidation",
        means: "Time per call that tells a cache that a range is gone: libkdreg by kdreg_cache_invalidate, which releases what \
                was idle before it returns, UCX by ucm_vm_munmap, which is what its hook of munmap calls. A range that covers none \
                is one of the free pages after each region.",
        run: invalidate::run,
    },
    Scenario {
        name: "munmap",
        title: "What munmap costs the application",
        means: "Time of one munmap of a touched page, beside a cache of 10,000 regions: memory that nobody watches, and a \
                page that is cached. What the kernel imposes with userfaultfd is a wake-up of another thread and one back; the floors \
                are these two context switches by eventfd, and munmap beside a userfaultfd without any library, whose thread \
                does nothing but read the event. Threads are kept on the processor that unmaps, or on another one, which \
                takes an interrupt to be woken. On one processor what a library's threads do after the event is read may run \
                before the munmap goes on.",
        run: unmap::run,
    },
    Scenario {
        name: "valid",
        title: "kdreg_valid",
        means: "Processor time per check of regions in turn. Where the word is current it is a load and a compare; userfaultfd adds \
                the call, relaxed; strict adds one system call to that.",
        run: valid::run,
    },
    Scenario {
        name: "memory",
        title: "Memory",
        means: "Bytes per cached region that a cache of 100,000 adds to the process, resident and mapped (what is reserved for \
                more included), each subject in a process of its own; the caller's handle is no part of it, nor what the kernel keeps for userfaultfd or \
                the module. And the resident size over cycles of register and evict.",
        run: memory::run,
    },
    Scenario {
        name: "instructions",
        title: "Instructions of a hit",
        means: "User-space instructions per get and put, as valgrind counts them: the difference between a long and a short \
                run. They do not include what the kernel does in a system call. valgrind runs neither userfaultfd nor the \
                module: libkdreg's count is that of its Rust API without a monitor.",
        run: instructions::run,
    },
];

/// A part that only runs on behalf of a scenario, in a process of its own.
pub fn run_part(options: &Options, arguments: &[String]) -> Result<(), String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["scenario", name] => {
            let scenario = ALL.iter().find(|s| s.name == name);
            let scenario = scenario.ok_or(format!("no scenario {name}"))?;
            (scenario.run)(&Context::new(options, scenario.name))
        }
        ["memory", subject, count] => memory::part(options, subject, parse(count)?),
        ["churn", subject, cycles] => memory::churn_part(options, subject, parse(cycles)?),
        ["count", subject, count] => instructions::part(options, subject, parse(count)?),
        _ => Err(format!("no part {words:?}")),
    }
}

fn parse(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("'{text}' is no number"))
}

/// What a scenario has to do with.
pub struct Context<'a> {
    pub options: &'a Options,
    pub effort: Effort,
    pub field: Field,
    scenario: &'static str,
}

/// Where a number belongs.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub chart: &'a str,
    pub axis: &'a str,
    pub at: &'a str,
    pub unit: &'a str,
}

impl<'a> Context<'a> {
    pub fn new(options: &'a Options, scenario: &'static str) -> Context<'a> {
        Context {
            options,
            effort: options.effort,
            field: Field::survey(options),
            scenario,
        }
    }

    /// As many regions, unless fewer were asked for.
    pub fn at_most(&self, count: usize) -> usize {
        count.min(self.options.largest)
    }

    /// Those sizes that are not too large.
    pub fn sizes(&self, all: &[usize]) -> Vec<usize> {
        let fits = |size: &usize| *size <= self.options.largest;
        let sizes: Vec<usize> = all.iter().copied().filter(fits).collect();
        match sizes[..] {
            [] => vec![self.options.largest],
            _ => sizes,
        }
    }

    /// The unit of a time per operation.
    pub fn time(&self) -> &str {
        &self.options.clock
    }

    /// Says on standard error what goes on.
    pub fn progress(&self, what: &str) {
        let mut to = std::io::stderr();
        // Standard error may be closed; there is nobody to tell.
        let _ = if to.is_terminal() {
            write!(to, "\r\x1b[K  {}: {what}", self.scenario)
        } else {
            writeln!(to, "  {}: {what}", self.scenario)
        };
    }

    /// Hands a number to the parent, on standard output.
    pub fn row(&self, place: Place, subject: &str, values: &[f64], note: &str) {
        let summary = Summary::of(values);
        let row = Row {
            scenario: self.scenario.into(),
            chart: place.chart.into(),
            subject: subject.into(),
            at: place.at.into(),
            axis: place.axis.into(),
            unit: place.unit.into(),
            median: summary.map(|s| s.median),
            low: summary.map(|s| s.low),
            high: summary.map(|s| s.high),
            rounds: values.len(),
            note: note.into(),
        };
        println!("{}", row.to_csv());
    }

    /// Says why there is no number.
    pub fn no_number(&self, place: Place, subject: &str, why: &str) {
        self.row(place, subject, &[], why);
    }

    /// A subject by its name, for a part.
    fn subject(&self, name: &str) -> Result<Subject, String> {
        let found = self.field.subjects.iter().find(|s| s.name == name);
        found.cloned().ok_or(format!("no subject {name}"))
    }
}
