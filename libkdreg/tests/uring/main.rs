// SPDX-License-Identifier: MIT OR Apache-2.0
//! The io_uring adaptor on real rings.

mod memory;
mod ring;

use kdreg::adaptors::uring::{Buffers, Options, Place};
use kdreg::errno::Errno;
use kdreg::monitor::{self, Capabilities, Monitor};
use kdreg::range::Range;
use memory::{Memory, PAGE};
use ring::{Ring, SINGLE_ISSUER};
use std::fs::File;
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: they share the process's monitor, and what one of them
/// can be shown unchanged in time depends on what the others change meanwhile.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file in memory.
fn file() -> File {
    // SAFETY: a C string, and a fresh descriptor.
    unsafe {
        let fd = libc::memfd_create(c"uring".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    }
}

fn monitor() -> Monitor {
    Monitor::open(&monitor::Options::default()).unwrap()
}

/// Whether this machine's backend sees what the tests do to memory.
fn sees_unmap() -> bool {
    monitor().capabilities().contains(Capabilities::UNMAP)
}

fn with(place: Place) -> Options {
    Options {
        place,
        ..Options::default()
    }
}

/// What making buffers failed with.
fn refusal(ring: &impl AsFd, options: &Options) -> i32 {
    match Buffers::new(&monitor(), ring.as_fd(), options) {
        Ok(_) => panic!("not refused"),
        Err(error) => error.value(),
    }
}

fn byte_of(file: &File, offset: u64) -> u8 {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0]
}

#[test]
fn a_second_get_hits_and_inner_ranges_too() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &Options::default()).unwrap(),
        file(),
    );
    let memory = Memory::new(4 * PAGE);
    memory.fill(b'a');
    for round in 0..10u64 {
        let buffer = buffers.get(memory.range()).unwrap();
        let length = memory.length as i32;
        assert_eq!(ring.write(&file, buffer.index(), memory.parts(), 0), length);
        let inner = Range::new(memory.at + PAGE + 8, 16).unwrap();
        let inside = buffers.get(inner).unwrap();
        assert_eq!(buffer.is_valid(), sees_unmap());
        if sees_unmap() {
            assert_eq!(inside.index(), buffer.index());
            assert_eq!(buffers.statistics().unwrap().registrations, 1);
            assert_eq!(buffers.statistics().unwrap().hits, 2 * round + 1);
        }
    }
    assert_eq!(byte_of(&file, 4 * PAGE as u64 - 1), b'a');
}

#[test]
fn a_changed_mapping_gets_another_registration() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &Options::default()).unwrap(),
        file(),
    );
    let memory = Memory::new(PAGE);
    for (round, byte) in (b'a'..=b'z').enumerate() {
        memory.fill(byte);
        let buffer = buffers.get(memory.range()).unwrap();
        assert_eq!(ring.write(&file, buffer.index(), memory.parts(), 0), 4096);
        assert_eq!(byte_of(&file, 17), byte);
        drop(buffer);
        if round % 2 == 0 {
            memory.remap();
        } else {
            memory.replace();
        }
    }
}

/// A held index goes on naming the pages it was given for, and nobody else's.
#[test]
fn an_index_is_not_replaced_while_it_is_held() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    if !sees_unmap() {
        return println!("skipped: the backend watches nothing");
    }
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &with(Place::Table(2))).unwrap(),
        file(),
    );
    let memory = Memory::new(PAGE);
    memory.fill(b'o');
    let old = buffers.get(memory.range()).unwrap();
    memory.remap();
    memory.fill(b'n');
    assert!(!old.is_valid());
    for _ in 0..100 {
        let new = buffers.get(memory.range()).unwrap();
        assert_ne!(new.index(), old.index());
        assert!(new.is_valid());
        ring.write(&file, new.index(), memory.parts(), 0);
        assert_eq!(byte_of(&file, 0), b'n');
        ring.write(&file, old.index(), memory.parts(), 0);
        assert_eq!(byte_of(&file, 0), b'o');
        drop(new);
        buffers.flush().unwrap();
        buffers.reap().unwrap();
    }
    // Two slots, one held for a mapping that is gone: its last put frees it.
    let other = Memory::new(PAGE);
    let new = buffers.get(memory.range()).unwrap();
    assert_eq!(buffers.get(other.range()).err(), Some(Errno::ENOBUFS));
    let stale = old.index();
    drop(old);
    assert_eq!(buffers.get(other.range()).unwrap().index(), stale);
    drop(new);
}

#[test]
fn idle_buffers_make_room() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    let options = Options {
        no_merge: true,
        ..with(Place::Table(4))
    };
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &options).unwrap(),
        file(),
    );
    let memory: Vec<_> = (0..32).map(|_| Memory::new(PAGE)).collect();
    for (byte, memory) in memory.iter().cycle().take(1000).enumerate() {
        memory.fill(byte as u8);
        let buffer = buffers.get(memory.range()).unwrap();
        assert!(buffer.index() < 4);
        assert_eq!(ring.write(&file, buffer.index(), memory.parts(), 0), 4096);
        assert_eq!(byte_of(&file, 4095), byte as u8);
    }
    let held: Vec<_> = memory[..4]
        .iter()
        .map(|memory| buffers.get(memory.range()).unwrap())
        .collect();
    assert_eq!(buffers.get(memory[9].range()).err(), Some(Errno::ENOBUFS));
    drop(held);
    assert!(buffers.get(memory[9].range()).is_ok());
}

#[test]
fn a_window_leaves_the_callers_slots_alone() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    let window = |first, count| with(Place::Window { first, count });
    assert_eq!(refusal(&ring, &window(0, 8)), libc::ENXIO);
    assert_eq!(ring.register_table(16), 0);
    assert_eq!(refusal(&ring, &Options::default()), libc::EBUSY);
    assert_eq!(refusal(&ring, &window(12, 8)), libc::EINVAL);
    let buffers = Buffers::new(&monitor(), ring.as_fd(), &window(12, 4)).unwrap();
    let below = Buffers::new(&monitor(), ring.as_fd(), &window(8, 4)).unwrap();
    let (memory, file) = (Memory::new(PAGE), file());
    memory.fill(b'w');
    let buffer = buffers.get(memory.range()).unwrap();
    let other = below.get(memory.range()).unwrap();
    assert!((12..16).contains(&buffer.index()));
    assert!((8..12).contains(&other.index()));
    assert_eq!(ring.write(&file, buffer.index(), memory.parts(), 0), 4096);
    assert_eq!(ring.read(&file, other.index(), memory.parts(), 0), 4096);
    drop((buffer, other));
    drop((buffers, below));
    // The table is still the caller's.
    assert_eq!(ring.register_table(16), libc::EBUSY);
}

#[test]
fn a_table_of_its_own_ends_with_it() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    for _ in 0..3 {
        let buffers = Buffers::new(&monitor(), ring.as_fd(), &Options::default()).unwrap();
        let memory = Memory::new(PAGE);
        assert!(buffers.get(memory.range()).is_ok());
        assert_eq!(ring.register_table(1), libc::EBUSY);
    }
    assert_eq!(ring.register_table(1), 0);
}

/// The number of a closed ring may name another one: that one is left alone.
#[test]
fn a_ring_may_be_closed_first() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    let buffers = Buffers::new(&monitor(), ring.as_fd(), &Options::default()).unwrap();
    let memory = Memory::new(PAGE);
    assert!(buffers.get(memory.range()).is_ok());
    drop(ring);
    let next = Ring::new(0).unwrap();
    assert_eq!(next.register_table(4), 0);
    memory.remap();
    assert!(buffers.get(memory.range()).is_ok());
    drop(buffers);
    assert_eq!(next.register_table(4), libc::EBUSY);
}

#[test]
fn refusals_have_their_errno() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    assert_eq!(refusal(&file(), &Options::default()), libc::EOPNOTSUPP);
    assert_eq!(refusal(&ring, &with(Place::Table(0))), libc::EINVAL);
    assert_eq!(refusal(&ring, &with(Place::Table(16_385))), libc::EINVAL);
    let beyond = Place::Window {
        first: u32::MAX,
        count: 2,
    };
    assert_eq!(refusal(&ring, &with(beyond)), libc::EINVAL);

    let buffers = Buffers::new(&monitor(), ring.as_fd(), &Options::default()).unwrap();
    let memory = Memory::read_only(PAGE);
    assert_eq!(buffers.get(memory.range()).err(), Some(Errno::EFAULT));
    let memory = Memory::new((1 << 30) + PAGE);
    assert_eq!(buffers.get(memory.range()).err(), Some(Errno::EMSGSIZE));
    let hole = memory.range();
    drop(memory);
    let hole = Range::new(hole.start(), PAGE).unwrap();
    assert_eq!(buffers.get(hole).err(), Some(Errno::EFAULT));
    // None of them took a slot for good.
    let memory = Memory::new(PAGE);
    assert_eq!(buffers.get(memory.range()).unwrap().index(), 0);
}

/// Only the submitter may change the table of such a ring: what another thread
/// releases waits for it, and its slot with it.
#[test]
fn a_single_issuer_releases_for_the_others() {
    let _alone = alone();
    let Some(ring) = Ring::new(SINGLE_ISSUER) else {
        return;
    };
    let buffers = Buffers::new(&monitor(), ring.as_fd(), &with(Place::Table(2))).unwrap();
    let memory = Memory::new(PAGE);
    for _ in 0..20 {
        let buffer = buffers.get(memory.range()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = Memory::new(PAGE);
                assert_eq!(
                    buffers.get(other.range()).err().map(Errno::value),
                    Some(libc::EEXIST)
                );
                memory.remap();
                // Unless the reaper did it before.
                assert!(buffers.flush().unwrap() <= 1);
                drop(buffer); // the last put, by another thread
            });
        });
        let (first, second) = (Memory::new(PAGE), Memory::new(PAGE));
        let held = (
            buffers.get(first.range()).unwrap(),
            buffers.get(second.range()).unwrap(),
        );
        drop(held);
    }
}

/// Threads that unmap and map at the same address share one table: each
/// transfer carries what the memory holds now.
#[test]
fn remap_storm() {
    let _alone = alone();
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 2000;
    let Some(ring) = Ring::new(0) else { return };
    let options = Options {
        max_unreleased: 1 << 20,
        ..with(Place::Table(64))
    };
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &options).unwrap(),
        file(),
    );
    let wrong = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (ring, buffers, file, wrong) = (&ring, &buffers, &file, &wrong);
            scope.spawn(move || {
                let at = thread * 2 * PAGE as u64;
                let memory = Memory::new(2 * PAGE);
                for round in 0..ROUNDS {
                    let byte = (round * THREADS + thread) as u8;
                    memory.fill(byte);
                    {
                        let buffer = buffers.get(memory.range()).unwrap();
                        let done = ring.write(file, buffer.index(), memory.parts(), at);
                        assert_eq!(done as usize, memory.length);
                    }
                    if byte_of(file, at) != byte || byte_of(file, at + 8191) != byte {
                        wrong.fetch_add(1, Ordering::Relaxed);
                    }
                    match round % 5 {
                        0 => memory.remap(),
                        1 => memory.replace(),
                        2 => memory.replace_by_pages(),
                        3 => memory.discard(),
                        _ => {
                            let buffer = buffers.get(memory.range()).unwrap();
                            memory.fill(0);
                            ring.read(file, buffer.index(), memory.parts(), at);
                            if memory.byte(8191) != byte {
                                wrong.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(wrong.load(Ordering::Relaxed), 0);
    let statistics = buffers.statistics().unwrap();
    assert_eq!(statistics.in_use, 0);
    if sees_unmap() {
        // One transfer in five is followed by one of the same memory.
        assert!(statistics.hits >= THREADS * ROUNDS / 5, "{statistics:?}");
    }
}

/// Where no buffer is used twice, only samples are kept; where one is, all are.
#[test]
fn bypass_ends_with_reuse() {
    let _alone = alone();
    let Some(ring) = Ring::new(0) else { return };
    if !sees_unmap() {
        return println!("skipped: the backend watches nothing");
    }
    let options = Options {
        bypass: true,
        no_merge: true,
        ..Options::default()
    };
    let (buffers, file) = (
        Buffers::new(&monitor(), ring.as_fd(), &options).unwrap(),
        file(),
    );
    let memory = Memory::new(PAGE);
    for round in 0..640 {
        memory.fill(round as u8);
        {
            let buffer = buffers.get(memory.range()).unwrap();
            assert_eq!(ring.write(&file, buffer.index(), memory.parts(), 0), 4096);
        }
        assert_eq!(byte_of(&file, 0), round as u8);
        memory.replace();
    }
    let before = buffers.statistics().unwrap();
    assert_eq!((before.hits, before.misses), (0, 640));
    assert!(before.uncached > 500, "{before:?}");
    for _ in 0..200 {
        let buffer = buffers.get(memory.range()).unwrap();
        assert!((buffer.index() as usize) < 1024);
    }
    let after = buffers.statistics().unwrap();
    assert!(after.hits >= 200 - 70, "{after:?}");
}
