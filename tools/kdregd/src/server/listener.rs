// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket that clients connect to: systemd's, or one of our own.

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat::Mode;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The first descriptor that systemd hands over.
const FIRST: RawFd = 3;

/// A socket that listens. One of our own is removed with it.
pub struct Listener {
    pub socket: OwnedFd,
    own: Option<PathBuf>,
}

impl Listener {
    /// What systemd handed over, or else one at `path`.
    pub fn open(path: &Path) -> Result<Listener> {
        match handed_over()? {
            Some(socket) => Ok(Listener { socket, own: None }),
            None => bind(path),
        }
    }

    /// Somebody who wants to connect. Never waits: `EAGAIN`.
    pub fn accept(&self) -> Result<OwnedFd, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket::accept4(self.socket.as_raw_fd(), flags)?;
        // SAFETY: the kernel has just made it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.own {
            let _ = fs::remove_file(path);
        }
    }
}

/// The protocol of sd_listen_fds(3).
fn handed_over() -> Result<Option<OwnedFd>> {
    let ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    if !ours {
        return Ok(None);
    }
    let count = env::var("LISTEN_FDS").unwrap_or_default();
    if count != "1" {
        bail!("systemd hands over {count:?} sockets, not one");
    }
    // SAFETY: whoever set LISTEN_PID to our number opened it for us, and nobody
    // else here reads that.
    let socket = unsafe { OwnedFd::from_raw_fd(FIRST) };
    let kind = socket::getsockopt(&socket, sockopt::SockType).context("descriptor 3")?;
    if kind != SockType::SeqPacket || !socket::getsockopt(&socket, sockopt::AcceptConn)? {
        bail!(
            "what systemd hands over is not a listening socket of packets (ListenSequentialPacket=)"
        );
    }
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(Some(socket))
}

fn bind(path: &Path) -> Result<Listener> {
    let shown = path.display();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    }
    let address = UnixAddr::new(path).with_context(|| shown.to_string())?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let new = || socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None);
    let socket = new().context("socket")?;
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| shown.to_string()),
        Ok(_) => {
            // Left by one that was killed, or somebody else's?
            match socket::connect(new().context("socket")?.as_raw_fd(), &address) {
                Err(Errno::ECONNREFUSED) => {
                    fs::remove_file(path).with_context(|| shown.to_string())?
                }
                Ok(()) => bail!("{shown}: another kdregd listens there"),
                Err(error) => bail!("{shown}: {error}"),
            }
        }
    }
    // Anybody may connect, from the moment it is there.
    let before = nix::sys::stat::umask(Mode::from_bits_truncate(0o111));
    let bound = socket::bind(socket.as_raw_fd(), &address);
    nix::sys::stat::umask(before);
    bound.with_context(|| format!("cannot listen at {shown}"))?;
    socket::listen(&socket, Backlog::MAXCONN).with_context(|| shown.to_string())?;
    Ok(Listener {
        socket,
        own: Some(path.to_owned()),
    })
}
