// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may change what is pinned below a directory, and who serves with it: one at a
//! time each.
//!
//! [`Serving`] is held as long as a kdregd serves, and [`Lock`] for each step that makes,
//! attaches, detaches or removes; in this order. The kernel gives both back for who is
//! killed. So of two that meet, each finds what the other has completed, or what one
//! left that was killed:
//!
//! * begins, and begins: the second is refused by `Serving`. Where the first was killed,
//!   what it had not finished has another name and is removed, and what it had is gone on
//!   with, or removed if it is dead: a link that was not pinned yet went with it, and
//!   no client has a mode before all of its links are pinned.
//! * begins, and uninstalls: between the steps of who begins, who uninstalls makes the
//!   guard dead and removes all names, and the next step finds it dead, attaches nothing,
//!   and ends. If who uninstalls is killed in between, who begins removes the rest as it
//!   ends, or else the next one that begins or uninstalls does.
//! * uninstalls, and uninstalls: the second finds nothing, or what was left, or what began
//!   in between, and removes it.
//! * a check has names of its own, and what was said of who begins holds for it.

use anyhow::{Context, Result, bail};
use kdreg::monitor::bpf::abi;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// While it is there nobody else has one. It is held shortly only: a BPF file
/// system in which something is open cannot be unmounted.
pub struct Lock(#[allow(dead_code)] Flock<File>);

impl Lock {
    /// Makes the directory, if it is not there, and waits.
    pub fn take(root: &Path) -> Result<Lock> {
        let shown = || root.display().to_string();
        loop {
            make_directory(root).with_context(shown)?;
            let directory = match File::open(root) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.with_context(shown)?,
            };
            keep_for_us(&directory).with_context(shown)?;
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

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Whoever can open a directory can lock it, for ever.
fn keep_for_us(directory: &File) -> Result<()> {
    let found = directory.metadata()?;
    // SAFETY: asks for a number.
    if found.uid() != unsafe { libc::geteuid() } {
        bail!(
            "it is user {}'s, who could do with it what they like",
            found.uid()
        );
    }
    if found.mode() & 0o077 != 0 {
        directory.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Whether a directory is the one of that name.
fn is_at(directory: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (directory.metadata(), fs::metadata(path)) else {
        return false;
    };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

/// One kdregd serves with what is pinned below a directory: two would detach each
/// other's modes, and take each other's reports. Held in a file of its own, outside of
/// the BPF file system, for as long as it serves.
pub struct Serving(#[allow(dead_code)] Flock<File>);

/// How long one that was killed may take to be gone, with a child that it was starting.
const PATIENCE: Duration = Duration::from_secs(5);
const NAP: Duration = Duration::from_millis(20);

impl Serving {
    /// For the pins below `root`.
    pub fn begin(root: &Path) -> Result<Serving> {
        let directory = Path::new(abi::SOCKET).parent().expect("it has one");
        Serving::begin_in(directory, root, PATIENCE)
    }

    fn begin_in(directory: &Path, root: &Path, patience: Duration) -> Result<Serving> {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let path = directory.join(file_name(root)?);
        let shown = || path.display().to_string();
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(shown)?;
        let limit = Instant::now() + patience;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(Serving(lock)),
                Err((file, Errno::EWOULDBLOCK)) if Instant::now() < limit => file,
                Err((_, Errno::EWOULDBLOCK)) => bail!(
                    "another kdregd serves with what is pinned in {}",
                    root.display()
                ),
                Err((_, error)) => return Err(error).with_context(shown),
            };
            thread::sleep(NAP);
        }
    }
}

/// What the lock of a directory's server is called: the same by whatever way it is named.
fn file_name(root: &Path) -> Result<PathBuf> {
    let shown = || root.display().to_string();
    make_directory(root).with_context(shown)?;
    let whole = fs::canonicalize(root).with_context(shown)?;
    let mut name = whole.as_os_str().to_owned().into_encoded_bytes();
    for byte in &mut name {
        if *byte == b'/' {
            *byte = b'-';
        }
    }
    let name = String::from_utf8_lossy(&name);
    Ok(format!("serving{name}.lock").into())
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

    #[test]
    fn one_serves_with_a_directory() {
        let root = std::env::temp_dir().join(format!("kdregd-serving-{}", std::process::id()));
        let pins = root.join("pins");
        let begin = |pins: &Path| Serving::begin_in(&root, pins, Duration::ZERO);
        let first = begin(&pins).unwrap();
        assert!(begin(&root.join("pins/../pins")).is_err());
        begin(&root.join("others")).unwrap();
        drop(first);
        begin(&pins).unwrap();
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn nobody_else_can_lock_it() {
        let root = std::env::temp_dir().join(format!("kdregd-ours-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
        drop(Lock::take(&root).unwrap());
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        // Where we may give it away.
        if std::os::unix::fs::chown(&root, Some(1), None).is_ok() {
            assert!(Lock::take(&root).is_err());
        }
        fs::remove_dir(&root).unwrap();
    }
}
