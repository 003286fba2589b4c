// SPDX-License-Identifier: MIT OR Apache-2.0
//! The changes there are. Each is made to the units in the middle of a block.

use super::absent::{Absent, result};
use super::change::Expected::{self, Logged, Quiet};
use super::change::{Change, ready};
use super::memory::Kind::{self, Anonymous, File, Heap, Hugetlb, Memfd, Sysv, Thp};
use super::memory::{self, MIDDLE, Memory, UNITS, page};
use super::userfault::user_move;
use kdreg::monitor::Capabilities;
use std::ops::Range;
use std::os::fd::AsRawFd;

const MAPPED: &[Kind] = &[Anonymous, Memfd, File, Thp, Hugetlb];
const SMALL: &[Kind] = &[Anonymous, Memfd, File];
const FILES: &[Kind] = &[Memfd, Hugetlb];

macro_rules! change {
    ($name:literal, $capability:ident, $kinds:expr, $make:expr) => {
        change!($name, $capability, $kinds, $make, ready)
    };
    ($name:literal, $capability:ident, $kinds:expr, $make:expr, $prepare:expr) => {
        Change {
            name: $name,
            capability: Capabilities::$capability,
            kinds: $kinds,
            prepare: $prepare,
            make: $make,
        }
    };
}

/// All of them.
pub const CHANGES: &[Change] = &[
    change!("munmap", UNMAP, MAPPED, munmap),
    change!("mmap over it", UNMAP, MAPPED, map_over),
    change!(
        "mremap, smaller",
        UNMAP,
        &[Anonymous, Memfd, File, Thp],
        shrink
    ),
    change!(
        "mremap onto it",
        UNMAP,
        &[Anonymous, Memfd, Thp],
        remap_onto
    ),
    change!("brk", UNMAP, &[Heap], brk),
    change!("mremap", REMAP, &[Anonymous, Memfd, File, Thp], remap),
    change!("munmap, no pages", UNMAP, MAPPED, munmap, no_pages),
    change!("mmap over it, no pages", UNMAP, MAPPED, map_over, no_pages),
    change!("mremap, smaller, no pages", UNMAP, SMALL, shrink, no_pages),
    change!(
        "mremap onto it, no pages",
        UNMAP,
        SMALL,
        remap_onto,
        no_pages
    ),
    change!("brk, no pages", UNMAP, &[Heap], brk, no_pages),
    change!("mremap, no pages", REMAP, SMALL, remap, no_pages),
    change!("MADV_DONTNEED", DISCARD, MAPPED, |m| advise(
        m,
        libc::MADV_DONTNEED
    )),
    change!("MADV_FREE", DISCARD, &[Anonymous, Thp], |m| advise(
        m,
        libc::MADV_FREE
    )),
    change!("MADV_REMOVE", DISCARD, FILES, |m| advise(
        m,
        libc::MADV_REMOVE
    )),
    change!("MADV_DONTNEED_LOCKED", DISCARD, &[Anonymous, Memfd], |m| {
        advise(m, 24)
    }),
    change!("MADV_GUARD_INSTALL", GUARD, &[Anonymous, Memfd, Thp], |m| {
        advise(m, 102)
    }),
    change!("mprotect, none", PROTECT, MAPPED, |m| protect(
        m,
        libc::PROT_NONE
    )),
    change!("mprotect, read", PROTECT, MAPPED, |m| protect(
        m,
        libc::PROT_READ
    )),
    change!("pkey_mprotect", PROTECT, &[Anonymous], pkey_protect),
    change!("ftruncate", FILE, FILES, truncate),
    change!("fallocate, hole", FILE, FILES, punch),
    change!("shmdt", SYSV, &[Sysv], detach),
    change!("shmdt, no pages", SYSV, &[Sysv], detach, no_pages),
    change!("shmat over it", SYSV, &[Anonymous], attach_over),
    change!(
        "shmat over it, no pages",
        SYSV,
        &[Anonymous],
        attach_over,
        no_pages
    ),
    change!("UFFDIO_MOVE", PAGES, &[Anonymous], user_move),
    change!("remap_file_pages", PAGES, &[Memfd], remap_file_pages),
    change!("MADV_COLLAPSE", MIGRATE, &[Thp], |m| advise(m, 25), split),
    change!("MADV_PAGEOUT", MIGRATE, &[Anonymous, Memfd], page_out),
    change!("ftruncate by another", FOREIGN, FILES, truncate_by_another),
    change!("fork", FORK_WARM, &[Anonymous, Memfd, Thp], fork),
];

fn pointer(range: &Range<usize>) -> *mut libc::c_void {
    range.start as *mut _
}

// All calls below are made on blocks that nothing but this test uses.

fn munmap(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above.
    let done = unsafe { libc::munmap(pointer(&range), range.len()) };
    result(done.into(), "munmap")?;
    Ok(Logged(range))
}

fn map_over(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    memory::map(range.start, range.len(), libc::PROT_READ, flags, None)?;
    Ok(Logged(range))
}

fn shrink(memory: &mut Memory) -> Result<Expected, Absent> {
    let all = memory.range(0..UNITS);
    let kept = memory.range(0..MIDDLE.start);
    // SAFETY: see above.
    let at = unsafe { libc::mremap(pointer(&all), all.len(), kept.len(), 0) };
    result(at as i64, "mremap")?;
    Ok(Logged(kept.end..all.end))
}

fn remap(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let room = memory::map(0, range.len() + memory.unit, libc::PROT_NONE, flags, None)?;
    let target = room.next_multiple_of(memory.unit);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: see above; the target has just been mapped for this.
    let at = unsafe {
        libc::mremap(
            pointer(&range),
            range.len(),
            range.len(),
            flags,
            target as *mut libc::c_void,
        )
    };
    let moved = result(at as i64, "mremap");
    // Looked at later: this is another address.
    // SAFETY: as above.
    unsafe { libc::munmap(room as *mut _, range.len() + memory.unit) };
    moved?;
    Ok(Logged(range))
}

fn remap_onto(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let other = memory::map(0, range.len(), libc::PROT_READ, flags, None)?;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: see above.
    let at = unsafe {
        libc::mremap(
            other as *mut _,
            range.len(),
            range.len(),
            flags,
            pointer(&range),
        )
    };
    result(at as i64, "mremap")?;
    Ok(Logged(range))
}

fn brk(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE.start..UNITS);
    // SAFETY: back to where the block's units begin; nothing is above it.
    let at = unsafe { libc::syscall(libc::SYS_brk, range.start) };
    if at as usize != range.start {
        return Err(Absent("the break did not move".into()));
    }
    Ok(Logged(range))
}

fn advise(memory: &mut Memory, advice: i32) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above.
    let done = unsafe { libc::madvise(pointer(&range), range.len(), advice) };
    result(done.into(), "madvise")?;
    Ok(Logged(range))
}

fn protect(memory: &mut Memory, protection: i32) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above.
    let done = unsafe { libc::mprotect(pointer(&range), range.len(), protection) };
    result(done.into(), "mprotect")?;
    Ok(Logged(range))
}

fn pkey_protect(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above; key -1 is none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_pkey_mprotect,
            range.start,
            range.len(),
            libc::PROT_READ,
            -1,
        )
    };
    result(done, "pkey_mprotect")?;
    Ok(Logged(range))
}

fn file(memory: &Memory) -> Result<i32, Absent> {
    let file = memory.file.as_ref().map(AsRawFd::as_raw_fd);
    file.ok_or_else(|| Absent("no file".into()))
}

fn truncate(memory: &mut Memory) -> Result<Expected, Absent> {
    let length = (MIDDLE.start * memory.unit) as i64;
    // SAFETY: what is cut off is not touched any more.
    let done = unsafe { libc::ftruncate(file(memory)?, length) };
    result(done.into(), "ftruncate")?;
    Ok(Logged(memory.range(MIDDLE.start..UNITS)))
}

fn punch(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    let start = (MIDDLE.start * memory.unit) as i64;
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    // SAFETY: see above.
    let done = unsafe { libc::fallocate(file(memory)?, mode, start, range.len() as i64) };
    result(done.into(), "fallocate")?;
    Ok(Logged(range))
}

fn detach(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(0..UNITS);
    // SAFETY: see above.
    let done = unsafe { libc::shmdt(pointer(&range)) };
    result(done.into(), "shmdt")?;
    Ok(Logged(range))
}

fn attach_over(memory: &mut Memory) -> Result<Expected, Absent> {
    let segment = Memory::new(Sysv)?;
    let range = memory.range(0..UNITS);
    // SAFETY: see above: over the whole block.
    let at = unsafe { libc::shmat(segment.segment, pointer(&range), libc::SHM_REMAP) };
    result(at as i64, "shmat")?;
    Ok(Logged(range))
}

fn remap_file_pages(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above.
    let done = unsafe {
        libc::syscall(
            libc::SYS_remap_file_pages,
            range.start,
            range.len(),
            0,
            0,
            0,
        )
    };
    result(done, "remap_file_pages")?;
    Ok(Logged(range))
}

/// The block is as nobody has touched it yet.
fn no_pages(memory: &mut Memory) -> Result<(), Absent> {
    memory.renew()
}

/// Huge pages in the middle become small ones, so that they can be collapsed.
fn split(memory: &mut Memory) -> Result<(), Absent> {
    for unit in MIDDLE {
        let first = memory.range(unit..unit + 1).start;
        for rights in [libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: see above: the unit's first page.
            let done = unsafe { libc::mprotect(first as *mut _, page(), rights) };
            result(done.into(), "mprotect")?;
        }
    }
    Ok(())
}

fn page_out(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    // SAFETY: see above.
    let done = unsafe { libc::madvise(pointer(&range), range.len(), libc::MADV_PAGEOUT) };
    result(done.into(), "madvise")?;
    let there = |address: &usize| memory::is_present(*address) != Some(false);
    if range.clone().step_by(page()).any(|address| there(&address)) {
        return Err(Absent("the kernel kept the pages".into()));
    }
    Ok(Logged(range))
}

/// Has a child do something, which must make no more than system calls.
fn by_another(deed: impl FnOnce() -> i32) -> Result<(), Absent> {
    // SAFETY: the child makes system calls and ends.
    match unsafe { libc::fork() } {
        -1 => Err(Absent::last("fork")),
        0 => {
            let done = deed();
            // SAFETY: ends the child, and nothing of its parent's.
            unsafe { libc::_exit(i32::from(done != 0)) }
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of ours, and a place for its status.
            unsafe { libc::waitpid(child, &mut status, 0) };
            if status == 0 {
                Ok(())
            } else {
                Err(Absent("another process could not do it".into()))
            }
        }
    }
}

fn truncate_by_another(memory: &mut Memory) -> Result<Expected, Absent> {
    let file = file(memory)?;
    let length = (MIDDLE.start * memory.unit) as i64;
    // SAFETY: what is cut off is not touched any more.
    by_another(|| unsafe { libc::ftruncate(file, length) })?;
    Ok(Logged(memory.range(MIDDLE.start..UNITS)))
}

fn fork(memory: &mut Memory) -> Result<Expected, Absent> {
    by_another(|| 0)?;
    Ok(Quiet(memory.range(0..UNITS)))
}
