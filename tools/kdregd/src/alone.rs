// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making and removing what is pinned below a directory: one at a time.

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// While it is there nobody else has one. It is held shortly only: a BPF file
/// system in which something is open cannot be unmounted.
pub struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Makes the directory, if it is not there, and waits.
    pub fn take(root: &Path) -> Result<Lock> {
        let shown = || root.display().to_string();
        loop {
            fs::create_dir_all(root).with_context(shown)?;
            let directory = match File::open(root) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.with_context(shown)?,
            };
            let lock = Flock::lock(directory, FlockArg::LockExclusive)
                .map_err(|(_, error)| error)
                .with_context(|| format!("{}: cannot lock it", root.display()))?;
            // Who had it may have removed the directory.
            if is_at(&lock, root) {
                return Ok(Lock(lock));
            }
        }
    }
}

/// Whether a directory is the one of that name.
fn is_at(directory: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (directory.metadata(), fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn who_waits_gets_the_directory_that_is_there_then() {
        let root = std::env::temp_dir().join(format!("kdregd-lock-{}", std::process::id()));
        let first = Lock::take(&root).unwrap();
        let (say, said) = mpsc::channel();
        let second = thread::spawn({
            let root = root.clone();
            move || {
                say.send(()).unwrap();
                let lock = Lock::take(&root).unwrap();
                assert!(is_at(&lock.0, &root));
                fs::remove_dir(&root).unwrap();
            }
        });
        said.recv().unwrap();
        fs::remove_dir(&root).unwrap();
        drop(first);
        second.join().unwrap();
        assert!(!root.exists());
    }
}
