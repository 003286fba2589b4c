// SPDX-License-Identifier: MIT OR Apache-2.0
//! kdregd's side of a self-test: starts the child, serves it, and reads what it
//! has seen.

use super::{child, enrolled};
use crate::kernel::programs::Mode;
use crate::proof::Proof;
use crate::server::Server;
use crate::server::connection::Peer;
use crate::server::events::{End, Loop};
use anyhow::{Context, Result};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Tries a mode. `Err` within: what has ended it early.
pub fn run(server: &mut Server, mode: Mode) -> Result<Result<Proof, End>> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .context("socketpair")?;
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--trial", mode.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let number = theirs.as_raw_fd();
    // SAFETY: between fork and exec, system calls alone.
    unsafe {
        command.pre_exec(move || {
            let placed = if number == enrolled::SOCKET {
                libc::fcntl(number, libc::F_SETFD, 0)
            } else {
                libc::dup2(number, enrolled::SOCKET)
            };
            // kdregd waits for signals that are to end the child.
            let mut none = std::mem::zeroed();
            libc::sigemptyset(&mut none);
            libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if placed < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut process = command.spawn().context("cannot start a self-test")?;
    drop(theirs);
    let mut output = process.stdout.take().context("no output")?;
    let peer = Peer {
        pid: process.id(),
        // SAFETY: asks for a number.
        uid: unsafe { libc::getuid() },
        trial: Some(mode),
    };
    // It is read when it has ended: what it writes fits into a pipe.
    let end = Loop::new(server, None)
        .and_then(|mut events| events.serve_trial(ours, peer, output.as_fd()));
    if !matches!(end, Ok(End::Done)) {
        let _ = process.kill();
    }
    let mut text = String::new();
    let read = output.read_to_string(&mut text);
    let status = process.wait().context("the self-test's child")?;
    match end? {
        End::Done => {}
        end @ (End::Signal | End::Dead) => return Ok(Err(end)),
    }
    read.context("the self-test's output")?;
    Ok(Ok(match child::cells(&text) {
        Ok(cells) => Proof::from_cells(cells),
        Err(error) if status.code() == Some(child::REFUSED) => {
            drop(error);
            Proof::broken(text.trim())
        }
        Err(error) => Proof::broken(format!("{error:#} ({status})")),
    }))
}
