// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection, and how far it has come.

use super::wire;
use crate::kernel::programs::Mode;
use nix::errno::Errno;
use nix::sys::socket::{self, sockopt};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a client may take to enrol.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is at the other end, as the kernel says.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
    /// A child of ours that tries this mode.
    pub trial: Option<Mode>,
}

/// What was found when it said hello.
#[derive(Clone, Copy, Debug)]
pub struct Challenged {
    pub mm: u64,
    pub start_time: u64,
    pub executions: u64,
    pub nonce: u64,
    pub capacity: u32,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// It has said nothing yet.
    New,
    /// It is to prove that it is who it says.
    Challenged(Challenged),
    /// It has a log.
    Granted {
        /// Of this address space.
        mm: u64,
        /// Called this.
        identity: u64,
    },
    /// It has been told all it is to be told.
    Closing,
}

/// A connection.
pub struct Connection {
    pub socket: OwnedFd,
    pub peer: Peer,
    pub state: State,
    /// When patience ends, unless it has been granted a log.
    pub deadline: Instant,
    /// What could not be sent yet.
    waiting: VecDeque<Vec<u8>>,
}

impl Connection {
    /// One that was accepted.
    pub fn accepted(socket: OwnedFd) -> Result<Connection, Errno> {
        let credentials = socket::getsockopt(&socket, sockopt::PeerCredentials)?;
        let peer = Peer {
            pid: credentials.pid() as u32,
            uid: credentials.uid(),
            trial: None,
        };
        Connection::new(socket, peer)
    }

    /// One with a known peer.
    pub fn new(socket: OwnedFd, peer: Peer) -> Result<Connection, Errno> {
        // Before anything is sent that a packet could be the answer to.
        wire::tell_senders(socket.as_fd())?;
        Ok(Connection {
            socket,
            peer,
            state: State::New,
            deadline: Instant::now() + PATIENCE,
            waiting: VecDeque::new(),
        })
    }

    /// Whether it has taken too long.
    pub fn is_late(&self, now: Instant) -> bool {
        !matches!(self.state, State::Granted { .. }) && now >= self.deadline
    }

    /// Sends what is left to be sent, as far as that goes. Whether all is sent.
    pub fn flush(&mut self) -> Result<bool, Errno> {
        while let Some(packet) = self.waiting.front() {
            match wire::send(self.socket.as_fd(), packet, &[]) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Sends packets, later if need be. Whether all is sent.
    pub fn send(&mut self, packets: impl IntoIterator<Item = Vec<u8>>) -> Result<bool, Errno> {
        self.waiting.extend(packets);
        self.flush()
    }
}
