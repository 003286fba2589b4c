// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measuring several subjects side by side: they take turns, round by round, so
//! that whatever else the machine does falls on all of them alike.

use crate::layout::{Arena, Key, Regions, shuffled};
use crate::subjects::{Cache, Setup, Subject};
use std::time::{Duration, Instant};

/// The middle of several numbers, and their quartiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub median: f64,
    pub low: f64,
    pub high: f64,
    pub rounds: usize,
}

impl Summary {
    /// `None` for no numbers.
    pub fn of(values: &[f64]) -> Option<Summary> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        let at = |share: f64| sorted[(share * last as f64).round() as usize];
        Some(Summary {
            median: at(0.5),
            low: at(0.25),
            high: at(0.75),
            rounds: sorted.len(),
        })
    }
}

/// A subject that is open, with regions of its own.
pub struct Lane {
    pub name: String,
    // Before the arena: closed before what it watches goes.
    pub cache: Box<dyn Cache>,
    pub keys: Vec<Key>,
    pub arena: Arena,
}

impl Lane {
    pub fn open(subject: &Subject, regions: &Regions, setup: Setup) -> Result<Lane, String> {
        let arena = regions.arena()?;
        Ok(Lane {
            name: subject.name.clone(),
            cache: subject.open(setup)?,
            keys: regions.keys(&arena),
            arena,
        })
    }

    /// Registers every region; returns how long that took.
    pub fn fill(&self) -> Result<Duration, String> {
        let start = Instant::now();
        self.cache.hit(&self.keys)?;
        Ok(start.elapsed())
    }
}

/// One subject's turn: its keys in random order, a stretch at a time.
pub struct Track {
    order: Vec<Key>,
    next: usize,
    /// How many keys a turn takes, and how often it goes over them.
    stretch: usize,
    passes: usize,
    /// Whether a turn begins with a stretch that is not timed.
    warm: bool,
    pub values: Vec<f64>,
    pub failure: Option<String>,
}

/// Beyond this many regions no cache of the processor holds them, and a turn
/// does not go over all of them.
const WARM_LIMIT: usize = 100_000;

impl Track {
    /// Finds out how long a turn must be to take about `turn`.
    pub fn new(
        keys: &[Key],
        turn: Duration,
        run: &mut dyn FnMut(&[Key]) -> Result<(), String>,
    ) -> Track {
        let order = shuffled(keys, 16_384);
        let mut track = Track {
            stretch: order.len(),
            order,
            next: 0,
            passes: 1,
            warm: keys.len() <= WARM_LIMIT,
            values: Vec::new(),
            failure: None,
        };
        let probe = track.order.len().min(256);
        let start = Instant::now();
        if let Err(why) = run(&track.order[..probe]) {
            track.failure = Some(why);
        }
        let each = start.elapsed().as_secs_f64().max(1e-9) / probe as f64;
        let wanted = ((turn.as_secs_f64() / each) as usize).max(64);
        // Each region at least once, so that the next subject's turn costs all alike.
        let least = if track.warm { keys.len() } else { 0 };
        // Something slow is not asked that often.
        let most = ((10.0 * turn.as_secs_f64() / each) as usize).max(64);
        let operations = wanted.max(least.min(most));
        track.stretch = operations.min(track.order.len());
        track.passes = (operations / track.stretch).max(1);
        track
    }

    pub fn turn(&mut self, run: &mut dyn FnMut(&[Key]) -> Result<(), String>) {
        if self.failure.is_some() {
            return;
        }
        if self.next + self.stretch > self.order.len() {
            self.next = 0;
        }
        let stretch = &self.order[self.next..self.next + self.stretch];
        self.next += self.stretch;
        let mut timed = || {
            if self.warm {
                run(stretch)?;
            }
            let start = thread_time();
            for _ in 0..self.passes {
                run(stretch)?;
            }
            let spent = (thread_time() - start).as_secs_f64() * 1e9;
            Ok(spent / (stretch.len() * self.passes) as f64)
        };
        match timed() {
            Ok(value) => self.values.push(value),
            Err(why) => self.failure = Some(why),
        }
    }

    /// How many operations a turn times.
    pub fn operations(&self) -> usize {
        self.stretch * self.passes
    }
}

fn clock(which: libc::clockid_t) -> Duration {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes to `now`.
    unsafe { libc::clock_gettime(which, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Processor time of the calling thread so far, the kernel's on its behalf
/// included: what else runs on the machine does not count. A look at it takes
/// a few hundred nanoseconds: for stretches of many operations.
pub fn thread_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Processor time of this process so far, all threads together.
fn processor_time() -> Duration {
    clock(libc::CLOCK_PROCESS_CPUTIME_ID)
}

/// What several threads did together.
pub struct Work {
    pub per_second: f64,
    /// Nanoseconds of processor time.
    pub processor_each: f64,
}

/// Lets as many threads as there are lists of keys go round theirs for `time`,
/// so many times over. Each goes over its keys once before.
pub fn together(
    cache: &dyn Cache,
    keys: &[Vec<Key>],
    time: Duration,
    rounds: usize,
) -> Result<Vec<Work>, String> {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};
    // The rounds that are over. Relaxed: says when to stop, orders nothing;
    // the barrier is what keeps the rounds apart.
    let over = AtomicUsize::new(0);
    let barrier = Barrier::new(keys.len() + 1);
    let work = |own: &[Key]| {
        // Warm, and settled: a thread is the cheaper for being the one that
        // mostly uses an entry, which a cache takes some hits to see.
        let begun = Instant::now();
        let mut warm = cache.hit(own);
        while warm.is_ok() && begun.elapsed() < time {
            warm = cache.hit(own);
        }
        let mut done = vec![0; rounds];
        let mut failure = warm.err();
        for (round, done) in done.iter_mut().enumerate() {
            barrier.wait();
            'round: while failure.is_none() {
                for stretch in own.chunks(512) {
                    failure = cache.hit(stretch).err();
                    *done += stretch.len();
                    if failure.is_some() || over.load(Ordering::Relaxed) > round {
                        break 'round;
                    }
                }
            }
            barrier.wait();
        }
        failure.map_or(Ok(done), Err)
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = keys.iter().map(|own| scope.spawn(|| work(own))).collect();
        let mut spent = Vec::new();
        for _ in 0..rounds {
            barrier.wait();
            let (start, used) = (Instant::now(), processor_time());
            std::thread::sleep(time);
            over.fetch_add(1, Ordering::Relaxed);
            barrier.wait();
            spent.push((start.elapsed(), processor_time() - used));
        }
        let mut done = vec![0; rounds];
        for thread in threads {
            let own = thread.join().map_err(|_| "a thread panicked")??;
            done.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        let work = |(&done, (time, used)): (&usize, &(Duration, Duration))| Work {
            per_second: done as f64 / time.as_secs_f64(),
            processor_each: used.as_secs_f64() * 1e9 / done.max(1) as f64,
        };
        Ok(done.iter().zip(&spent).map(work).collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_is_the_middle_and_the_quartiles() {
        let summary = Summary::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!((summary.low, summary.median, summary.high), (2.0, 3.0, 4.0));
        assert_eq!(Summary::of(&[]), None);
    }
}
