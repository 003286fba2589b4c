// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the process has mapped: bounds and nature of a mapping.
//!
//! PROCMAP_QUERY (Linux 6.11) answers in under a microsecond; before that
//! /proc/self/maps is read as text. Nothing here allocates.

use super::abi;
use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::range::{Range, USER_END};
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;

/// One mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mapping {
    pub range: Range,
    /// A System V shared memory segment.
    pub sysv: bool,
    /// Read, write, execute and shared, as PROCMAP_QUERY has them.
    access: u8,
    /// Device and inode of the file; zero for anonymous memory.
    file: (u64, u64),
    /// Where in the file it begins.
    offset: u64,
}

impl Mapping {
    /// Anonymous memory of a model; `access` tells what could be one mapping.
    #[cfg(test)]
    pub fn modelled(range: Range, access: u8) -> Mapping {
        Mapping {
            range,
            sysv: false,
            access,
            file: (0, 0),
            offset: 0,
        }
    }

    /// Whether the two lie side by side and could as well be one mapping, as
    /// far as can be seen from here.
    pub fn could_be_one_with(&self, other: &Mapping) -> bool {
        let (low, high) = if self.range.start() < other.range.start() {
            (self, other)
        } else {
            (other, self)
        };
        low.range.end() == high.range.start()
            && low.access == high.access
            && low.file == high.file
            && (low.file == (0, 0) || low.offset + low.range.len() as u64 == high.offset)
    }
}

/// The kernel names System V segments /SYSV and the key in hexadecimal.
const SYSV_PREFIX: &[u8] = b"/SYSV";

/// /proc/self/maps, kept open.
pub(super) struct Mappings {
    maps: Descriptor,
    /// Whether PROCMAP_QUERY is there.
    queried: bool,
}

impl Mappings {
    pub fn open() -> Result<Mappings, Errno> {
        let maps = open_proc(c"/proc/self/maps")?;
        let queried = abi::query_mapping(&maps, 0, &mut []).is_ok();
        Ok(Mappings { maps, queried })
    }

    /// Whether one question costs the same however many mappings there are.
    pub fn are_queried(&self) -> bool {
        self.queried
    }

    /// The first mapping that ends above `address`, if there is one.
    pub fn from(&self, address: usize) -> Result<Option<Mapping>, Errno> {
        let mut name = [0u8; 64];
        let found = match abi::query_mapping(&self.maps, address, &mut name) {
            // A name too long for the buffer is none that we look for.
            Err(error) if error.value() == libc::ENAMETOOLONG => {
                abi::query_mapping(&self.maps, address, &mut [])
            }
            other => other,
        };
        match found {
            Ok(found) => Ok(Some(Mapping {
                range: Range::new(
                    found.vma_start as usize,
                    (found.vma_end - found.vma_start) as usize,
                )?,
                sysv: name.starts_with(SYSV_PREFIX),
                access: (found.vma_flags & 0xf) as u8,
                file: found.file(),
                offset: found.vma_offset,
            })),
            Err(error) if error == Errno::ENOENT => Ok(None),
            Err(error) if error.value() == libc::ENOTTY => {
                let mut first = None;
                for_each_line(|line| match parse(line) {
                    Some(mapping) if mapping.range.end() > address => {
                        first = Some(mapping);
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                })?;
                Ok(first)
            }
            Err(error) => Err(error),
        }
    }

    /// How many mappings the process has.
    pub fn count() -> Result<usize, Errno> {
        let mut count = 0;
        for_each_line(|_| {
            count += 1;
            ControlFlow::Continue(())
        })?;
        Ok(count)
    }
}

/// Reads /proc/self/maps line by line, through a descriptor of its own, since
/// the position is part of it. Lines are cut at the length of the buffer: what
/// is wanted of them stands at their beginning.
fn for_each_line(mut visit: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), Errno> {
    let maps = open_proc(c"/proc/self/maps")?;
    let mut buffer = [0u8; 4096];
    let mut filled = 0;
    // Whether the rest of a line that was too long is being passed over.
    let mut skipping = false;
    loop {
        // SAFETY: reads into what is free of a local buffer, no more than that.
        let count = unsafe {
            libc::syscall(
                libc::SYS_read,
                maps.as_raw_fd(),
                buffer[filled..].as_mut_ptr(),
                buffer.len() - filled,
            )
        };
        let count = match usize::try_from(count) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(_) if Errno::last().value() == libc::EINTR => continue,
            Err(_) => return Err(Errno::last()),
        };
        filled += count;
        let mut begin = 0;
        while let Some(length) = buffer[begin..filled].iter().position(|&byte| byte == b'\n') {
            let line = &buffer[begin..begin + length];
            begin += length + 1;
            if !std::mem::take(&mut skipping) && visit(line).is_break() {
                return Ok(());
            }
        }
        buffer.copy_within(begin..filled, 0);
        filled -= begin;
        if filled == buffer.len() {
            if !std::mem::replace(&mut skipping, true) && visit(&buffer).is_break() {
                return Ok(());
            }
            filled = 0;
        }
    }
}

/// One line of /proc/self/maps: `start-end perms offset dev inode   name`.
fn parse(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.split(|&byte| byte == b' ').filter(|f| !f.is_empty());
    let mut bounds = fields.next()?.split(|&byte| byte == b'-');
    let start = hexadecimal(bounds.next()?)? as usize;
    let end = hexadecimal(bounds.next()?)? as usize;
    let access = fields.next()?.iter().fold(0, |bits, &letter| {
        bits << 1 | u8::from(letter != b'-' && letter != b'p')
    });
    let offset = hexadecimal(fields.next()?)?;
    let mut device = fields.next()?.split(|&byte| byte == b':');
    let device = hexadecimal(device.next()?)? << 32 | hexadecimal(device.next()?)?;
    let inode = fields
        .next()?
        .iter()
        .try_fold(0u64, |value, &digit| match digit {
            b'0'..=b'9' => Some(value * 10 + u64::from(digit - b'0')),
            _ => None,
        })?;
    Some(Mapping {
        // The vsyscall page lies in kernel addresses.
        range: Range::new(start, end.checked_sub(start)?).ok()?,
        sysv: fields.next().unwrap_or(b"").starts_with(SYSV_PREFIX),
        access,
        file: (device, inode),
        offset,
    })
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Opens a file of /proc for reading, close-on-exec.
pub(super) fn open_proc(path: &std::ffi::CStr) -> Result<Descriptor, Errno> {
    // SAFETY: reads a C string. By number, not through libc's open, which is a
    // cancellation point.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::O_RDONLY | libc::O_CLOEXEC,
        )
    };
    if fd < 0 {
        return Err(Errno::last());
    }
    Ok(Descriptor::new(fd as i32))
}

/// The largest number of mappings a process may have (`vm.max_map_count`);
/// the kernel's default where it cannot be read.
pub(super) fn max_map_count() -> usize {
    const DEFAULT: usize = 65_530;
    let Ok(file) = open_proc(c"/proc/sys/vm/max_map_count") else {
        return DEFAULT;
    };
    let mut text = [0u8; 24];
    // SAFETY: reads into a local buffer, no more than it holds.
    let count = unsafe {
        libc::syscall(
            libc::SYS_read,
            file.as_raw_fd(),
            text.as_mut_ptr(),
            text.len(),
        )
    };
    usize::try_from(count)
        .ok()
        .and_then(|count| std::str::from_utf8(&text[..count]).ok())
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT)
}

/// The whole of the user address space.
pub(super) fn everything() -> Range {
    Range::between(0, USER_END)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mapping_of_a_local() {
        let local = 0u8;
        let address = std::ptr::from_ref(&local) as usize;
        let mappings = Mappings::open().unwrap();
        let mapping = mappings.from(address).unwrap().unwrap();
        assert!(mapping.range.start() <= address && address < mapping.range.end());
        assert!(!mapping.sysv);
        let lowest = mappings.from(0x10).unwrap().unwrap();
        assert!(lowest.range.start() > 0x10);
        assert!(mappings.from(0x10).unwrap().unwrap().range.start() > 0x10);
        assert!(Mappings::count().unwrap() > 3);
    }

    #[test]
    fn the_text_says_what_the_query_says() {
        let local = 0u8;
        let address = std::ptr::from_ref(&local) as usize;
        let asked = Mappings::open().unwrap().from(address).unwrap().unwrap();
        let mut read = None;
        for_each_line(|line| {
            read = parse(line).filter(|mapping| mapping.range.end() > address);
            match read {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        })
        .unwrap();
        let read = read.unwrap();
        assert_eq!((asked.range, asked.file), (read.range, read.file));
    }

    #[test]
    fn reads_lines_of_maps() {
        let line = b"7f0000000000-7f0000010000 rw-s 00000000 00:01 4 /SYSV00000000 (deleted)";
        let mapping = parse(line).unwrap();
        assert_eq!(mapping.range.len(), 0x10000);
        assert!(mapping.sysv);
        assert!(
            parse(b"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]").is_none()
        );
    }

    #[test]
    fn knows_what_could_be_one_mapping() {
        let first = parse(b"1000-3000 rw-p 00000000 00:00 0").unwrap();
        let second = parse(b"3000-4000 rw-p 00000000 00:00 0").unwrap();
        let other = parse(b"3000-4000 r--p 00000000 00:00 0").unwrap();
        assert!(first.could_be_one_with(&second) && second.could_be_one_with(&first));
        assert!(!first.could_be_one_with(&other));
        let file = |line: &[u8]| parse(line).unwrap();
        let low = file(b"1000-3000 rw-s 00005000 08:01 77 /f");
        assert!(low.could_be_one_with(&file(b"3000-4000 rw-s 00007000 08:01 77 /f")));
        assert!(!low.could_be_one_with(&file(b"3000-4000 rw-s 00008000 08:01 77 /f")));
        assert!(!low.could_be_one_with(&file(b"3000-4000 rw-s 00007000 08:01 78 /f")));
    }
}
