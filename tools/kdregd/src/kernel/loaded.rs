// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one loading of the programs consists of.

use super::programs::{PROGRAMS, Program};
use anyhow::{Context, Result, anyhow};
use kdreg::monitor::bpf::abi;
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// Maps, programs and links. Links stay attached while this is here, or their
/// pins are.
pub struct Generation {
    pub(super) directory: PathBuf,
    pub(super) maps: HashMap<&'static str, MapHandle>,
    pub(super) programs: HashMap<&'static str, OwnedFd>,
    pub(super) links: HashMap<&'static str, OwnedFd>,
    /// Whether images have been made of which the first is waited for (`images::pass`).
    pub(super) passed: bool,
}

impl Generation {
    /// A map.
    pub fn map(&self, name: &str) -> &MapHandle {
        self.maps.get(name).expect("all of MAPS are there")
    }

    /// The element of a map that has one.
    pub fn element(&self, name: &str) -> Result<Vec<u8>> {
        self.map(name)
            .lookup(&0u32.to_ne_bytes(), MapFlags::ANY)?
            .ok_or_else(|| anyhow!("an array without its element"))
    }

    /// A program that this kernel has.
    pub fn program(&self, name: &str) -> BorrowedFd<'_> {
        self.programs
            .get(name)
            .expect("asked for programs that are wanted")
            .as_fd()
    }

    /// Its programs that are loaded, with their names.
    pub fn programs(&self) -> impl Iterator<Item = (&'static Program, BorrowedFd<'_>)> {
        PROGRAMS.iter().filter_map(|program| {
            let fd = self.programs.get(program.name)?;
            Some((program, fd.as_fd()))
        })
    }

    /// Whether a program is attached.
    pub fn is_linked(&self, program: &Program) -> bool {
        self.links.contains_key(program.name)
    }

    /// The guard as it is now.
    pub fn guard(&self) -> Result<abi::Guard> {
        let bytes = self.element("guard")?;
        let bytes: [u8; size_of::<abi::Guard>()] = bytes[..size_of::<abi::Guard>()]
            .try_into()
            .context("the guard is too short")?;
        // SAFETY: plain integers, of which any bytes are a value.
        Ok(unsafe { std::mem::transmute::<[u8; size_of::<abi::Guard>()], abi::Guard>(bytes) })
    }

    /// Whether nothing is certain in it any more.
    pub fn is_dead(&self) -> Result<bool> {
        Ok(self.guard()?.word & abi::GUARD_DEAD != 0)
    }

    /// Whether it is dead since it was uninstalled.
    pub fn is_uninstalled(&self) -> Result<bool> {
        Ok(self.guard()?.flags & abi::GUARD_UNINSTALLED != 0)
    }
}
