// SPDX-License-Identifier: MIT OR Apache-2.0
//! The maps that a client has: its log, and the ring that wakes it.

use super::loaded::Generation;
use super::programs::Mode;
use super::{calls, orders};
use anyhow::{Context, Result};
use kdreg::monitor::bpf::abi;
use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, MapType};
use std::os::fd::AsFd;
use std::ptr;

/// `KDREG_LOG_ELEMENT`.
pub const ELEMENT: u32 = 64;
/// Data bytes of a ring: a page, the least there can be.
const RING_BYTES: u32 = 4096;

/// What a client's maps take of the kernel's memory, about.
pub fn memory(capacity: u32) -> u64 {
    let page = 4096;
    let log = (abi::log_bytes(capacity) as u64).next_multiple_of(page);
    // The log's own structure; and of the ring that, two pages of positions, and
    // its data.
    log + page + 4 * page
}

/// A client's maps, before and after they are in the outer ones.
pub struct ClientMaps {
    /// Its log.
    pub log: MapHandle,
    /// What wakes it.
    pub ring: MapHandle,
}

/// Whether something was put in.
pub enum Inserted {
    /// Yes.
    Yes,
    /// There is one of that address space.
    Exists,
    /// There is no room.
    Full,
}

impl ClientMaps {
    /// A log for a client, in which nothing has been logged yet.
    pub fn new(capacity: u32, mode: Mode, identity: u64) -> Result<ClientMaps> {
        let mut options = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as _,
            map_flags: libbpf_sys::BPF_F_MMAPABLE | libbpf_sys::BPF_F_INNER_MAP,
            ..Default::default()
        };
        let elements = abi::log_bytes(capacity) as u32 / ELEMENT;
        let log = MapHandle::create(
            MapType::Array,
            Some("kdreg_log"),
            4,
            ELEMENT,
            elements,
            &options,
        )
        .context("no memory for a log")?;
        let header = abi::LogHeader {
            magic: abi::LOG_MAGIC,
            version: abi::VERSION,
            capacity,
            mode: mode.number(),
            identity,
            ..Default::default()
        };
        let mut element = [0u8; ELEMENT as usize];
        // SAFETY: the header is plain integers without padding (abi.rs checks
        // its size), and shorter than an element.
        unsafe {
            ptr::copy_nonoverlapping(
                ptr::from_ref(&header).cast::<u8>(),
                element.as_mut_ptr(),
                size_of::<abi::LogHeader>(),
            );
        }
        log.update(&0u32.to_ne_bytes(), &element, MapFlags::ANY)?;
        // Programs can still write to it, user space cannot.
        log.freeze().context("cannot freeze a log")?;
        options.map_flags = 0;
        let ring = MapHandle::create(
            MapType::RingBuf,
            Some("kdreg_wake"),
            0,
            0,
            RING_BYTES,
            &options,
        )
        .context("no memory for a ring")?;
        Ok(ClientMaps { log, ring })
    }

    /// Bytes of the ring's data.
    pub fn ring_bytes(&self) -> u64 {
        u64::from(RING_BYTES)
    }

    /// From now on what happens to the address space is logged.
    pub fn insert(&self, generation: &Generation, mm: u64) -> Result<Inserted> {
        orders::expect(generation, mm)?;
        match put(generation, "logs", mm, &self.log, MapFlags::NO_EXIST) {
            Ok(Inserted::Yes) => {}
            other => {
                orders::forget(generation, mm)?;
                return other;
            }
        }
        // One that is left from before is nobody's any more.
        let inserted = put(generation, "wakes", mm, &self.ring, MapFlags::ANY);
        if !matches!(inserted, Ok(Inserted::Yes)) {
            take_out(generation, mm)?;
        }
        inserted
    }
}

fn put(
    generation: &Generation,
    outer: &str,
    mm: u64,
    inner: &MapHandle,
    flags: MapFlags,
) -> Result<Inserted> {
    let map = generation.map(outer);
    match calls::insert_map(map.as_fd(), mm, inner.as_fd(), flags.bits()) {
        Ok(()) => Ok(Inserted::Yes),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(Inserted::Exists),
        Err(error) if error.raw_os_error() == Some(libc::E2BIG) => Ok(Inserted::Full),
        Err(error) => Err(error).with_context(|| format!("cannot add to map {outer}")),
    }
}

/// Ends the log of an address space, and takes its maps out: nothing is logged in them
/// any more. Dead first: a client may still have it mapped, and one that lived would be
/// counted among its place's for ever.
pub fn take_out(generation: &Generation, mm: u64) -> Result<()> {
    orders::end(generation, mm)?;
    for outer in ["logs", "wakes"] {
        match generation.map(outer).delete(&mm.to_ne_bytes()) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot take out of map {outer}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The address spaces that have a log.
pub fn all(generation: &Generation) -> Vec<u64> {
    let keys = generation.map("logs").keys();
    keys.filter_map(|key| Some(u64::from_ne_bytes(key.try_into().ok()?)))
        .collect()
}

/// Wakes all that wait: what the guard says now is to be looked at.
pub fn wake_all(generation: &Generation) -> Result<()> {
    for mm in all(generation) {
        orders::wake(generation, mm)?;
    }
    Ok(())
}
