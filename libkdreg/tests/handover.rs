// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real threads, real fences: references taken by one thread and put back by
//! another, by threads that come and go, while others evict, invalidate and
//! flush. The device notices a registration that is undone while it is held,
//! or twice, or never.

use kdreg::cache::{Cache, Handle, Held, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::range::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
const BASE: usize = 0x10_0000_0000;
const REGIONS: usize = 24;
const HANDLES: usize = 1 << 22;

/// How many users a registration has; `GONE` once it was undone.
const GONE: u32 = 1 << 31;

struct Device {
    users: Vec<AtomicU32>,
    next: AtomicUsize,
    live: AtomicUsize,
}

#[derive(Clone)]
struct Shared(Arc<Device>);

impl Registrar for Shared {
    fn register(&self, _range: Range, _access: u32) -> Result<Handle, Errno> {
        let handle = self.0.next.fetch_add(1, Ordering::Relaxed);
        if handle >= HANDLES {
            return Err(Errno::EINVAL);
        }
        self.0.live.fetch_add(1, Ordering::Relaxed);
        Ok(Handle(handle))
    }

    fn deregister(&self, _range: Range, handle: Handle) {
        let users = self.0.users[handle.0].swap(GONE, Ordering::SeqCst);
        assert_eq!(users, 0, "undone while in use, or twice");
        self.0.live.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Device {
    fn enter(&self, held: &Held<'_>) {
        let users = self.users[held.handle().0].fetch_add(1, Ordering::SeqCst);
        assert_eq!(users & GONE, 0, "got what was undone");
    }

    fn leave(&self, held: &Held<'_>) {
        let users = self.users[held.handle().0].fetch_sub(1, Ordering::SeqCst);
        assert_eq!(users & GONE, 0, "undone while held");
    }
}

fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

fn region(index: usize) -> Range {
    Range::new(BASE + index % REGIONS * 4 * PAGE, 2 * PAGE).unwrap()
}

type Parcel<'a> = Held<'a>;

/// Gets, mostly its favourite; puts back, or hands on.
fn user<'a>(
    cache: &'a Cache,
    device: &Device,
    seed: u64,
    rounds: usize,
    post: &SyncSender<Parcel<'a>>,
    letters: &Mutex<Receiver<Parcel<'a>>>,
) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut kept = Vec::new();
    for _ in 0..rounds {
        let favourite = random(&mut state) % 8 != 0;
        let index = if favourite {
            seed as usize
        } else {
            random(&mut state)
        };
        let Ok(held) = cache.get(region(index), 1) else {
            break; // out of handles
        };
        device.enter(&held);
        match random(&mut state) % 16 {
            0 => kept.push(held),
            1 => {
                if let Err(back) = post.try_send(held) {
                    let (std::sync::mpsc::TrySendError::Full(held)
                    | std::sync::mpsc::TrySendError::Disconnected(held)) = back;
                    device.leave(&held);
                }
            }
            _ => device.leave(&held),
        }
        if random(&mut state) % 16 == 0 {
            if let Ok(letter) = letters.lock().unwrap().try_recv() {
                device.leave(&letter);
            }
        }
        if kept.len() > 6 {
            let held = kept.swap_remove(random(&mut state) % kept.len());
            device.leave(&held);
        }
    }
    for held in kept {
        device.leave(&held);
    }
}

#[test]
fn nothing_is_undone_while_any_thread_holds_it() {
    let device = Shared(Arc::new(Device {
        users: (0..HANDLES).map(|_| AtomicU32::new(0)).collect(),
        next: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    }));
    let seconds = std::env::var("KDREG_HANDOVER_SECONDS")
        .map_or(3, |text| text.parse::<u64>().expect("a number"));
    let (manual, monitor) = Manual::open().unwrap();
    let options = Options {
        max_entries: REGIONS / 2,
        no_merge: true,
        ..Options::default()
    };
    let cache = Cache::new(&monitor, options, Box::new(device.clone())).unwrap();
    let over = AtomicBool::new(false);
    let (post, letters) = sync_channel::<Parcel<'_>>(64);
    let letters = Mutex::new(letters);
    std::thread::scope(|scope| {
        for seed in 1..4u64 {
            let (cache, device, post, letters, over) =
                (&cache, &device.0, post.clone(), &letters, &over);
            scope.spawn(move || {
                let mut generation = 0;
                while !over.load(Ordering::Relaxed) {
                    // A thread for a while: its number, and its thread
                    // pointer, are the next one's.
                    generation += 1;
                    let seed = seed + 4 * generation;
                    std::thread::scope(|scope| {
                        scope.spawn(|| user(cache, device, seed, 20_000, &post, letters));
                    });
                }
            });
        }
        let mut state = 99;
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            match random(&mut state) % 8 {
                0 => {
                    cache.flush().unwrap();
                }
                1 => {
                    cache.invalidate(region(random(&mut state))).unwrap();
                }
                2 | 3 => manual.change(region(random(&mut state))),
                _ => {
                    cache.get(region(random(&mut state)), 1).ok();
                }
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(post);
    for letter in letters.lock().unwrap().try_iter() {
        device.0.leave(&letter);
    }
    let counts = cache.statistics().unwrap();
    println!("{counts:?}");
    assert_eq!(counts.in_use, 0);
    assert!(counts.hits > 0 && counts.evictions > 0 && counts.invalidations > 0);
    drop(letters);
    drop(cache);
    assert_eq!(device.0.live.load(Ordering::Relaxed), 0, "never undone");
}

/// An entry that one thread got and another put back is idle, also at the
/// moment when the first thread's count of it is given up.
#[test]
fn what_was_put_back_elsewhere_is_never_seen_in_use() {
    let device = Shared(Arc::new(Device {
        users: (0..HANDLES).map(|_| AtomicU32::new(0)).collect(),
        next: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    }));
    let (_manual, monitor) = Manual::open().unwrap();
    let cache = Cache::new(&monitor, Options::default(), Box::new(device)).unwrap();
    // Many that are looked at first, so that looking takes longer than dropping.
    for index in 1..2000 {
        let filler = Range::new(2 * BASE + index * 4 * PAGE, PAGE).unwrap();
        drop(cache.get(filler, 1).unwrap());
    }
    // Odd while nobody holds anything.
    let phase = AtomicUsize::new(0);
    let over = AtomicBool::new(false);
    let (post, letters) = sync_channel::<Parcel<'_>>(0);
    let (answer, answers) = sync_channel(0);
    std::thread::scope(|scope| {
        let (cache, phase, over) = (&cache, &phase, &over);
        scope.spawn(move || {
            let mut state = 7;
            for letter in letters {
                drop(letter);
                phase.fetch_add(1, Ordering::SeqCst);
                // At any time of somebody's look at all entries.
                for _ in 0..random(&mut state) % 4096 {
                    std::hint::spin_loop();
                }
                cache.invalidate(region(0)).unwrap();
                phase.fetch_add(1, Ordering::SeqCst);
                answer.send(()).unwrap();
            }
            over.store(true, Ordering::Relaxed);
        });
        let observer = scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let before = phase.load(Ordering::SeqCst);
                let used = cache.statistics().unwrap().in_use;
                if before % 2 != 0 && phase.load(Ordering::SeqCst) == before {
                    assert_eq!(used, 0);
                }
            }
        });
        for _ in 0..12_000 {
            // Registered, adopted, and counted as the owner.
            for _ in 0..3 {
                drop(cache.get(region(0), 1).unwrap());
            }
            post.send(cache.get(region(0), 1).unwrap()).unwrap();
            answers.recv().unwrap();
            if observer.is_finished() {
                break;
            }
        }
        drop(post);
    });
}
