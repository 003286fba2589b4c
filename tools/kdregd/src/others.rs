// SPDX-License-Identifier: MIT OR Apache-2.0
//! What other builds of kdregd, and checks that were killed, have left pinned.

use crate::alone::Lock;
use crate::kernel::clients;
use crate::kernel::features::Features;
use crate::kernel::generation::{Generation, build_name};
use crate::kernel::guarded;
use crate::kernel::holding::{self, Found};
use crate::kernel::pins;
use crate::kernel::remains::{self, Object};
use crate::kernel::tasks;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What a check's pins are called, before the number of its process.
pub const CHECK: &str = "check-";

/// The directories in one, if there is one.
fn directories(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| root.display().to_string()),
    };
    let mut directories = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| root.display().to_string())?.path();
        if path.is_dir() {
            directories.push(path);
        }
    }
    Ok(directories)
}

/// Removes what is of no use to anybody any more. The programs of another build
/// stay while one of its clients lives.
pub fn retire(root: &Path, features: &Features, lock: &Lock) {
    let found = directories(root).unwrap_or_default();
    for directory in found {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let removed = if let Some(process) = name.strip_prefix(CHECK) {
            if Path::new("/proc").join(process).exists() {
                continue;
            }
            remove_all(&directory, lock)
        } else if name == build_name() || is_in_use(&directory, features) {
            continue;
        } else {
            pins::remove_all(&directory, lock)
        };
        match removed {
            Ok(()) => eprintln!("kdregd: {}: removed, nobody uses it", directory.display()),
            Err(error) => eprintln!("kdregd: {error:#}"),
        }
    }
}

/// Whether another build's programs have a client. Whatever cannot be told has.
fn is_in_use(directory: &Path, features: &Features) -> bool {
    let name = directory.to_string_lossy();
    if name.ends_with(pins::UNFINISHED) || name.ends_with(pins::IDLE) {
        return false;
    }
    let Ok(other) = Generation::reopen(directory, features) else {
        return true;
    };
    if other.is_dead().is_ok_and(|dead| dead) {
        return false;
    }
    tasks::with_logs(&other).map_or(true, |tasks| !tasks.is_empty())
}

/// Other builds' programs that have clients.
pub fn in_use(root: &Path, features: &Features) -> Vec<PathBuf> {
    let mut found = directories(root).unwrap_or_default();
    found.retain(|directory| {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let other = name != build_name() && !name.starts_with(CHECK);
        other && is_in_use(directory, features)
    });
    found
}

/// Lets go of another's guard, if it is held and may be let go of: its own kdregd is
/// not there to do it. `None`: it is gone, or dead, or holds its guard for reasons of its
/// own, by what we do not know.
pub fn look(directory: &Path, features: &Features) -> Result<Option<Found>> {
    if !directory.exists() || !pins::are_known(directory)? {
        return Ok(None);
    }
    let other = Generation::reopen(directory, features)?;
    if other.is_dead()? || !guarded::is_known(&other) {
        return Ok(None);
    }
    let found = holding::look(&other, features)?;
    if found == Found::LetGo {
        clients::wake_all(&other)?;
    }
    Ok(Some(found))
}

/// What is pinned in the directories of one.
pub fn objects(root: &Path) -> Result<Vec<Object>> {
    let mut objects = Vec::new();
    for directory in directories(root)? {
        for inner in directories(&directory)? {
            objects.extend(remains::pinned(&inner)?);
        }
        objects.extend(remains::pinned(&directory)?);
    }
    Ok(objects)
}

/// Removes all that is pinned in the directories of one, and that.
pub fn remove_all(root: &Path, lock: &Lock) -> Result<()> {
    for directory in directories(root)? {
        // A check's are one level down.
        for inner in directories(&directory)? {
            pins::remove_all(&inner, lock)?;
        }
        pins::remove_all(&directory, lock)?;
    }
    match fs::remove_dir(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| root.display().to_string())
        }
        _ => Ok(()),
    }
}
