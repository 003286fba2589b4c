// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether what was pinned is gone from the kernel.

use super::calls;
use anyhow::{Context, Result, bail};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// A program or map, by its number in the kernel. Links go before their programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    Program(u32),
    Map(u32),
}

/// How long they may take to go: the kernel lets go of them a moment later, and a
/// kdregd that runs has to end.
const PATIENCE: Duration = Duration::from_secs(60);
const NAP: Duration = Duration::from_millis(20);

/// The programs and maps whose names are in a directory, but for the guard: clients
/// that live have it mapped.
pub fn pinned(directory: &Path) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    let shown = || directory.display().to_string();
    for entry in fs::read_dir(directory).with_context(shown)? {
        let path = entry.with_context(shown)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (program, map) = (name.starts_with("prog_"), name.starts_with("map_"));
        if !program && !map || name == "map_guard" {
            continue;
        }
        let fd = match calls::pinned(&path) {
            // Somebody has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| path.display().to_string())?,
        };
        objects.push(if program {
            Object::Program(calls::program_info(fd.as_fd())?.id)
        } else {
            Object::Map(calls::map_id(fd.as_fd())?)
        });
    }
    Ok(objects)
}

/// Waits until all of them are gone. Who may not ask for them by number is not
/// told anything.
pub fn wait(objects: &[Object]) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    for object in objects {
        loop {
            let found = match *object {
                Object::Program(id) => calls::program_by_id(id),
                Object::Map(id) => calls::map_by_id(id),
            };
            match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("{object:?}")),
                // Not held meanwhile.
                Ok(fd) => drop(fd),
            }
            if Instant::now() >= limit {
                bail!(
                    "{object:?} is still in the kernel: somebody holds it (a kdregd of another \
                     version, or with another BPF file system?)"
                );
            }
            thread::sleep(NAP);
        }
    }
    Ok(())
}
