// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kinds of memory: some units of each, all of them written to.

use super::absent::Absent;
use std::fs;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

/// Units of a block.
pub const UNITS: usize = 8;
/// Of them, those that are changed, unless a change needs others.
pub const MIDDLE: Range<usize> = 2..6;
const HUGE: usize = 2 << 20;

/// What memory is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Anonymous,
    /// Shared, of a file in memory.
    Memfd,
    /// Private, of a file on a disk.
    File,
    /// Anonymous, in transparent huge pages.
    Thp,
    /// Shared, of a file of huge pages.
    Hugetlb,
    /// What brk(2) gives.
    Heap,
    /// A segment of System V.
    Sysv,
}

impl Kind {
    pub const ALL: [Kind; 7] = [
        Kind::Anonymous,
        Kind::Memfd,
        Kind::File,
        Kind::Thp,
        Kind::Hugetlb,
        Kind::Heap,
        Kind::Sysv,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Anonymous => "anonymous",
            Kind::Memfd => "memfd",
            Kind::File => "file",
            Kind::Thp => "thp",
            Kind::Hugetlb => "hugetlb",
            Kind::Heap => "heap",
            Kind::Sysv => "sysv",
        }
    }
}

/// A block of it.
pub struct Memory {
    pub kind: Kind,
    pub start: usize,
    /// Bytes of a unit: a page, or a huge one.
    pub unit: usize,
    /// The file behind it.
    pub file: Option<OwnedFd>,
    /// The segment behind it.
    pub segment: i32,
}

/// Bytes of a page.
pub fn page() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}

/// mmap(2).
pub fn map(
    at: usize,
    length: usize,
    protection: i32,
    flags: i32,
    file: Option<&OwnedFd>,
) -> Result<usize, Absent> {
    let fd = file.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: elsewhere than all other mappings, or over those of a block, which
    // nothing but this test uses.
    let address = unsafe { libc::mmap(at as *mut _, length, protection, flags, fd, 0) };
    if address == libc::MAP_FAILED {
        Err(Absent::last("mmap"))
    } else {
        Ok(address as usize)
    }
}

const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;
const ANONYMOUS: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;

/// A file in memory.
fn memfd(length: usize, flags: libc::c_uint) -> Result<OwnedFd, Absent> {
    // SAFETY: a terminated string.
    let fd = unsafe { libc::memfd_create(c"kdregd".as_ptr(), flags | libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(Absent::last("memfd_create"));
    }
    // SAFETY: the kernel has just made it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a number and an open descriptor.
    if unsafe { libc::ftruncate(fd.as_raw_fd(), length as i64) } != 0 {
        return Err(Absent::last("ftruncate"));
    }
    Ok(fd)
}

impl Memory {
    /// A new block, with all its pages there.
    pub fn new(kind: Kind) -> Result<Memory, Absent> {
        let unit = match kind {
            Kind::Thp | Kind::Hugetlb => HUGE,
            _ => page(),
        };
        let length = UNITS * unit;
        let mut memory = Memory {
            kind,
            start: 0,
            unit,
            file: None,
            segment: -1,
        };
        match kind {
            Kind::Anonymous => memory.start = map(0, length, RW, ANONYMOUS, None)?,
            Kind::Memfd => {
                let file = memfd(length, 0)?;
                memory.start = map(0, length, RW, libc::MAP_SHARED, Some(&file))?;
                memory.file = Some(file);
            }
            Kind::File => {
                let file = fs::File::open("/proc/self/exe")
                    .map_err(|error| Absent(format!("/proc/self/exe: {error}")))?;
                let file = OwnedFd::from(file);
                memory.start = map(0, length, RW, libc::MAP_PRIVATE, Some(&file))?;
                memory.file = Some(file);
            }
            Kind::Thp => memory.start = huge(length)?,
            Kind::Hugetlb => {
                let file = memfd(length, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB)?;
                memory.start = map(0, length, RW, libc::MAP_SHARED, Some(&file))
                    .map_err(|_| Absent("no huge pages in the pool".into()))?;
                memory.file = Some(file);
            }
            Kind::Heap => {
                // SAFETY: the break is moved up by what is moved down again.
                let start = unsafe { libc::syscall(libc::SYS_brk, 0) } as usize;
                let start_of_page = start.next_multiple_of(unit);
                let end = start_of_page + length;
                // SAFETY: as above.
                if unsafe { libc::syscall(libc::SYS_brk, end) } as usize != end {
                    return Err(Absent("the heap cannot grow".into()));
                }
                memory.start = start_of_page;
            }
            Kind::Sysv => {
                // SAFETY: plain numbers.
                memory.segment = unsafe { libc::shmget(libc::IPC_PRIVATE, length, 0o600) };
                if memory.segment < 0 {
                    return Err(Absent::last("shmget"));
                }
                // SAFETY: where the kernel sees fit; marked to go with its last user.
                let at = unsafe {
                    let at = libc::shmat(memory.segment, ptr::null(), 0);
                    libc::shmctl(memory.segment, libc::IPC_RMID, ptr::null_mut());
                    at
                };
                if at as isize == -1 {
                    return Err(Absent::last("shmat"));
                }
                memory.start = at as usize;
            }
        }
        memory.touch(0..UNITS);
        if kind == Kind::Thp && !is_huge(memory.start) {
            return Err(Absent("no transparent huge pages were given".into()));
        }
        Ok(memory)
    }

    /// Maps it once more where it is: none of its pages is there afterwards.
    pub fn renew(&mut self) -> Result<(), Absent> {
        let range = self.range(0..UNITS);
        let flags = match self.kind {
            Kind::Anonymous | Kind::Thp => ANONYMOUS,
            Kind::Memfd | Kind::Hugetlb => libc::MAP_SHARED,
            Kind::File => libc::MAP_PRIVATE,
            Kind::Heap => {
                for end in [range.start, range.end] {
                    // SAFETY: down to where the block begins, above which nothing
                    // else is, and up again.
                    if unsafe { libc::syscall(libc::SYS_brk, end) } as usize != end {
                        return Err(Absent("the break did not move".into()));
                    }
                }
                return Ok(());
            }
            Kind::Sysv => {
                // SAFETY: over the block, which nothing but this test uses.
                let at =
                    unsafe { libc::shmat(self.segment, range.start as *mut _, libc::SHM_REMAP) };
                return if at as isize == -1 {
                    Err(Absent::last("shmat"))
                } else {
                    Ok(())
                };
            }
        };
        let flags = flags | libc::MAP_FIXED;
        map(range.start, range.len(), RW, flags, self.file.as_ref()).map(drop)
    }

    /// Addresses of units.
    pub fn range(&self, units: Range<usize>) -> Range<usize> {
        self.start + units.start * self.unit..self.start + units.end * self.unit
    }

    /// Writes to every page of units: they are there afterwards.
    pub fn touch(&self, units: Range<usize>) {
        for address in self.range(units).step_by(page()) {
            // SAFETY: within the block, which is mapped for writing.
            unsafe { ptr::write_volatile(address as *mut u8, 1) };
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let range = self.range(0..UNITS);
        if range.start == 0 {
            return;
        }
        // SAFETY: the block is this test's own; what is not mapped any more in it
        // stays so.
        unsafe {
            match self.kind {
                Kind::Heap => {
                    libc::syscall(libc::SYS_brk, range.start);
                }
                _ => {
                    libc::munmap(range.start as *mut _, range.len());
                }
            }
        }
    }
}

/// Anonymous memory that asks for huge pages, and begins at one.
fn huge(length: usize) -> Result<usize, Absent> {
    let reserved = map(
        0,
        length + HUGE,
        libc::PROT_NONE,
        ANONYMOUS | libc::MAP_NORESERVE,
        None,
    )?;
    let start = reserved.next_multiple_of(HUGE);
    // SAFETY: all of it has just been mapped for this.
    unsafe {
        libc::munmap(reserved as *mut _, start - reserved);
        libc::munmap((start + length) as *mut _, reserved + HUGE - start);
    }
    map(start, length, RW, ANONYMOUS | libc::MAP_FIXED, None)?;
    // SAFETY: mapped above.
    if unsafe { libc::madvise(start as *mut _, length, libc::MADV_HUGEPAGE) } != 0 {
        return Err(Absent::last("madvise(MADV_HUGEPAGE)"));
    }
    Ok(start)
}

/// Whether the mapping at an address has huge pages.
fn is_huge(address: usize) -> bool {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let head = format!("{address:x}-");
    smaps
        .lines()
        .skip_while(|line| !line.starts_with(&head))
        .find_map(|line| line.strip_prefix("AnonHugePages:"))
        .is_some_and(|amount| !amount.trim().starts_with("0 "))
}

/// Whether a page is there, as /proc/self/pagemap says.
pub fn is_present(address: usize) -> Option<bool> {
    use std::os::unix::fs::FileExt;
    let pagemap = fs::File::open("/proc/self/pagemap").ok()?;
    let mut entry = [0; 8];
    pagemap
        .read_exact_at(&mut entry, (address / page() * 8) as u64)
        .ok()?;
    Some(u64::from_ne_bytes(entry) >> 63 != 0)
}
