// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who listens at kdregd's socket: who is believed that nothing has changed.

use crate::errno::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd};

/// `EACCES` unless it is root, the program's own user, or whose directory the socket is
/// in. Elsewhere, in /tmp, anybody may take the place of a kdregd that has gone, and serve
/// a log that never moves. (In a user namespace the machine's root has the number of
/// those who have none; so has its directory.)
pub(super) fn check(socket: &impl AsFd, path: &str) -> Result<(), Errno> {
    let listener = listener(socket)?;
    // SAFETY: no arguments.
    let own = unsafe { libc::geteuid() };
    if [0, own].contains(&listener) || owner(directory(path)?.as_c_str())? == listener {
        Ok(())
    } else {
        Err(Errno::new(libc::EACCES))
    }
}

/// The user who made the socket listen.
fn listener(socket: &impl AsFd) -> Result<libc::uid_t, Errno> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: writes to a local structure of that size.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    } != 0;
    if failed {
        return Err(Errno::last());
    }
    Ok(peer.uid)
}

/// The directory that a path is in.
fn directory(path: &str) -> Result<CString, Errno> {
    let directory = match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((directory, _)) => directory,
        None => ".",
    };
    CString::new(directory).map_err(|_| Errno::EINVAL)
}

fn owner(path: &CStr) -> Result<libc::uid_t, Errno> {
    // SAFETY: zero is a value of this plain structure.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: reads a C string, and writes to a local variable.
    if unsafe { libc::stat(path.as_ptr(), &raw mut about) } == 0 {
        Ok(about.st_uid)
    } else {
        Err(Errno::last())
    }
}

#[cfg(test)]
mod tests {
    use super::directory;

    #[test]
    fn directories_of_paths() {
        for (path, expected) in [
            ("/run/kdreg/kdregd.sock", "/run/kdreg"),
            ("/socket", "/"),
            ("socket", "."),
            ("a/b", "a"),
        ] {
            assert_eq!(directory(path).unwrap().to_str().unwrap(), expected);
        }
    }
}
