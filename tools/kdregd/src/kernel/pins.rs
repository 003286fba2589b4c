// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a directory that keep maps, programs and links while no kdregd runs.

use super::ftrace;
use super::programs::{MAPS, PROGRAMS};
use crate::alone::Lock;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What pins are called behind their build's name, until they are all there.
pub const UNFINISHED: &str = "-unfinished";
/// And of one with nothing attached, which is there while nothing can be.
pub const IDLE: &str = "-idle";

pub fn of_map(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("map_{name}"))
}

pub fn of_program(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("prog_{name}"))
}

pub fn of_link(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("link_{name}"))
}

/// Whether nothing is pinned in a directory but what this build would.
pub fn are_known(directory: &Path) -> Result<bool> {
    let ours: Vec<PathBuf> = MAPS
        .iter()
        .map(|name| of_map(directory, name))
        .chain(PROGRAMS.iter().flat_map(|program| {
            [
                of_program(directory, program.name),
                of_link(directory, program.name),
            ]
        }))
        .collect();
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry
            .with_context(|| directory.display().to_string())?
            .path();
        if !ours.contains(&path) {
            return Ok(false);
        }
    }
    Ok(true)
}

pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a directory of pins, if there is one: links first, so that what they
/// write to is there to the end. Not where that would do harm.
pub fn remove_all(directory: &Path, _lock: &Lock) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| directory.display().to_string()),
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    // "link_" sorts before "map_" and "prog_".
    paths.sort();
    let is_link = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("link_")
    };
    if paths.iter().any(is_link) {
        ftrace::permits_to_detach()?;
    }
    for path in paths {
        remove(&path)?;
    }
    match fs::remove_dir(directory) {
        // Somebody else has removed it, too.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.with_context(|| format!("cannot remove {}", directory.display())),
    }
}
