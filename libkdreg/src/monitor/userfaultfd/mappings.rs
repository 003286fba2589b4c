// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the process has mapped: bounds, page size and name of a mapping.
//!
//! PROCMAP_QUERY (Linux 6.11) answers in under a microsecond; before that
//! /proc/self/maps is read as text.

use super::abi;
use crate::errno::Errno;
use crate::range::Range;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;

/// One mapping.
pub(super) struct Mapping {
    pub range: Range,
    /// The page size it is made of, in bytes; `None`: not known.
    pub page: Option<usize>,
    /// A System V shared memory segment.
    pub sysv: bool,
}

/// The kernel names System V segments /SYSV and the key in hexadecimal.
const SYSV_PREFIX: &[u8] = b"/SYSV";

/// /proc/self/maps, kept open.
pub(super) struct Mappings {
    maps: OwnedFd,
}

impl Mappings {
    pub fn open() -> Result<Mappings, Errno> {
        Ok(Mappings {
            maps: open_proc("/proc/self/maps")?,
        })
    }

    /// The mapping that holds `address`; `EFAULT` when there is none.
    pub fn at(&self, address: usize) -> Result<Mapping, Errno> {
        let mut name = [0u8; 64];
        match abi::query_mapping(&self.maps, address, &mut name) {
            Ok(found) => Ok(Mapping {
                range: Range::between(found.vma_start as usize, found.vma_end as usize),
                page: Some(found.vma_page_size as usize),
                sysv: name.starts_with(SYSV_PREFIX),
            }),
            Err(error) if error == Errno::ENOENT => Err(Errno::EFAULT),
            // A name too long for the buffer is none that we look for.
            Err(error) if error.value() == libc::ENAMETOOLONG => {
                let found = abi::query_mapping(&self.maps, address, &mut [])?;
                Ok(Mapping {
                    range: Range::between(found.vma_start as usize, found.vma_end as usize),
                    page: Some(found.vma_page_size as usize),
                    sysv: false,
                })
            }
            Err(error) if error.value() == libc::ENOTTY => self
                .all()?
                .into_iter()
                .find(|mapping| mapping.range.start() <= address && address < mapping.range.end())
                .ok_or(Errno::EFAULT),
            Err(error) => Err(error),
        }
    }

    /// Every mapping of the process.
    pub fn all(&self) -> Result<Vec<Mapping>, Errno> {
        // A descriptor of its own, since the position is part of it.
        let mut text = File::from(open_proc("/proc/self/maps")?);
        text.seek(SeekFrom::Start(0)).map_err(|_| Errno::EIO)?;
        let mut bytes = Vec::new();
        text.read_to_end(&mut bytes).map_err(|_| Errno::EIO)?;
        Ok(BufReader::new(&bytes[..])
            .split(b'\n')
            .filter_map(|line| parse(&line.ok()?))
            .collect())
    }
}

/// One line of /proc/self/maps: `start-end perms offset dev inode   name`.
fn parse(line: &[u8]) -> Option<Mapping> {
    let text = String::from_utf8_lossy(line);
    let (start, rest) = text.split_once('-')?;
    let (end, rest) = rest.split_once(' ')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    let end = usize::from_str_radix(end, 16).ok()?;
    let name = rest.split_ascii_whitespace().nth(4).unwrap_or("");
    Some(Mapping {
        // The vsyscall page lies in kernel addresses.
        range: Range::new(start, end.checked_sub(start)?).ok()?,
        page: None,
        sysv: name.as_bytes().starts_with(SYSV_PREFIX),
    })
}

/// Opens a file of /proc for reading, close-on-exec.
pub(super) fn open_proc(path: &str) -> Result<OwnedFd, Errno> {
    File::open(path)
        .map(OwnedFd::from)
        .map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
}

/// The largest number of mappings a process may have (`vm.max_map_count`);
/// the kernel's default where it cannot be read.
pub(super) fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::page_size;

    #[test]
    fn finds_the_mapping_of_a_local() {
        let local = 0u8;
        let address = std::ptr::from_ref(&local) as usize;
        let mappings = Mappings::open().unwrap();
        let mapping = mappings.at(address).unwrap();
        assert!(mapping.range.start() <= address && address < mapping.range.end());
        assert!(!mapping.sysv);
        assert!(mapping.page.is_none_or(|page| page >= page_size()));
        assert!(matches!(mappings.at(0x10), Err(Errno::EFAULT)));
        assert!(
            mappings
                .all()
                .unwrap()
                .iter()
                .any(|m| m.range.start() <= address)
        );
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
}
