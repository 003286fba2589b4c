// SPDX-License-Identifier: MIT OR Apache-2.0
//! What an munmap of watched memory costs on userfaultfd: the two context
//! switches that the kernel imposes - its caller sleeps until somebody has read
//! the event, who slept until there was one - and no third. Counted by the
//! kernel, so that it does not matter how busy the machine is. Alone in a
//! process, whose threads are counted all.

use kdreg::monitor::{Kind, Monitor, Options};
use kdreg::range::Range;

#[path = "mapping/mod.rs"]
mod mapping;

const PAGE: usize = 4096;
const UNMAPS: usize = 5_000;

/// How often the threads of this process have gone to sleep so far.
fn sleeps() -> usize {
    std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))
                .unwrap();
            line.trim().parse::<usize>().unwrap()
        })
        .sum()
}

#[test]
fn a_munmap_makes_its_caller_and_the_handler_sleep_once_each() {
    let options = Options {
        backend: Some(Kind::Userfaultfd),
        ..Options::default()
    };
    let monitor = match Monitor::open(&options) {
        Ok(monitor) => monitor,
        Err(error) => {
            println!("skipped: no userfaultfd: {error}");
            return;
        }
    };
    // Pages with room between them: neighbours would be one mapping.
    let memory = mapping::map(2 * UNMAPS * PAGE);
    let pages: Vec<Range> = (0..UNMAPS)
        .map(|index| Range::new(memory.start() + 2 * index * PAGE, PAGE).unwrap())
        .collect();
    let regions: Vec<_> = pages
        .iter()
        .map(|page| monitor.monitor(*page, 0).unwrap())
        .collect();
    let before = sleeps();
    for page in &pages {
        mapping::unmap(*page);
    }
    let slept = sleeps() - before;
    assert!(regions.iter().all(|region| !monitor.is_valid(*region)));
    println!("{UNMAPS} munmaps of watched memory: {slept} context switches");
    // The handler looks around once a second, and the test harness may, too.
    let others = UNMAPS / 20;
    assert!(slept <= 2 * UNMAPS + others, "{slept} for {UNMAPS} munmaps");
    // The kernel imposes two: the count counts.
    assert!(slept >= UNMAPS / 2, "{slept} for {UNMAPS} munmaps");
    mapping::unmap(memory);
}
