// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection, and how far it has come.

use super::refusal::Refusal;
use super::wire;
use crate::kernel::programs::Mode;
use kdreg::monitor::bpf::abi::Message as _;
use nix::errno::Errno;
use nix::sys::socket::{self, sockopt};
use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long a client may take for each thing it has to say.
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

    /// Whether it has taken too long. Who has said something waits for us.
    fn is_late(&self, now: Instant) -> bool {
        !matches!(self.state, State::Granted { .. })
            && now >= self.deadline
            && !wire::has_something(self.socket.as_fd())
    }

    /// Whether it is late, which it is told then. Where thousands begin at once that is no
    /// fault of its own: if it speaks after all it finds this, and asks again.
    pub fn gives_up(&mut self, now: Instant) -> bool {
        let late = self.is_late(now);
        if late && !matches!(self.state, State::Closing) {
            let refusal = Refusal::new(libc::EAGAIN, "it has said nothing for too long");
            let _ = self.send([refusal.message().as_bytes().to_vec()]);
        }
        late
    }

    /// It has said something, and is to say something more.
    pub fn challenge(&mut self, challenged: Challenged) {
        self.state = State::Challenged(challenged);
        self.deadline = Instant::now() + PATIENCE;
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

#[cfg(test)]
mod tests {
    use super::*;
    use kdreg::monitor::bpf::abi;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    /// Where many enrol at once, and kdregd is the one who is late.
    #[test]
    fn who_has_spoken_is_not_late() {
        let (ours, theirs) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let peer = Peer {
            pid: std::process::id(),
            uid: 0,
            trial: None,
        };
        let mut connection = Connection::new(ours, peer).unwrap();
        let much_later = Instant::now() + 2 * PATIENCE;
        assert!(!connection.is_late(Instant::now()));
        assert!(connection.is_late(much_later));
        wire::send(theirs.as_fd(), b"hello", &[]).unwrap();
        assert!(!connection.is_late(much_later));
        let mut buffer = [0; abi::MESSAGE_MAX];
        wire::receive(connection.socket.as_fd(), &mut buffer);
        assert!(connection.is_late(much_later));
        // It has been answered, and has its time again.
        connection.deadline = Instant::now();
        connection.challenge(Challenged {
            mm: 1,
            start_time: 1,
            executions: 1,
            nonce: 1,
            capacity: 64,
        });
        assert!(!connection.is_late(Instant::now() + PATIENCE / 2));
        assert!(!connection.gives_up(Instant::now()));
        // Who has nothing yet is not told that he has failed for good.
        assert!(connection.gives_up(much_later));
        let wire::Received::Packet(packet) = wire::receive(theirs.as_fd(), &mut buffer) else {
            panic!("it is told nothing");
        };
        let refused = abi::Refused::from_bytes(&buffer[..packet.length]).unwrap();
        assert_eq!(refused.status, -libc::EAGAIN);
    }
}
