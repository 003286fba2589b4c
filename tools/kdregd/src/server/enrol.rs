// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a process comes by a log: it must be one process, of one user, and send back a
//! number that was told to its connection.
//!
//! # Whose memory it is
//! The kernel says who connected, and of each packet who sent it. At its hello it is
//! looked up which address space that process has, and a number is told that nobody
//! can guess. Whoever sends that number was there after the look; and if it was the
//! same process, which has executed no other program since, what it was sent from is
//! that address space: a process has one, until it executes a program or ends. The
//! same is looked at again when the log is in its place. So nothing is read of anybody's
//! memory, for which kdregd would have to wait: whoever is behind a mapping (a file
//! system in user space, a userfaultfd) may take as long as they like.

use super::Server;
use super::clients::Client;
use super::connection::{Challenged, Connection, Peer, State};
use super::ends;
use super::refusal::{Refusal, padded};
use super::wire;
use crate::kernel::calls::is_still_attached;
use crate::kernel::clients::{ClientMaps, Inserted};
use crate::kernel::programs::Mode;
use crate::kernel::tasks::{self, Task};
use crate::kernel::{clients as maps, orders};
use anyhow::Context as _;
use kdreg::monitor::bpf::abi::{self, Message as _};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A number that nobody can guess; not 0.
fn random() -> Result<u64, Refusal> {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel writes 8 bytes at most.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        return Err(Refusal::new(libc::EIO, "no random numbers"));
    }
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// The process at the other end, if it is what its credentials say.
fn process(server: &Server, peer: Peer) -> Result<Task, Refusal> {
    let task = tasks::of_process(&server.generation, peer.pid)?.ok_or_else(|| {
        Refusal::new(
            libc::ESRCH,
            format!(
                "there is no process {} (any more) that has memory",
                peer.pid
            ),
        )
    })?;
    if [task.uid, task.euid, task.suid] != [peer.uid; 3] {
        return Err(Refusal::new(
            libc::EPERM,
            format!(
                "process {} is not altogether user {}'s: its user ids are {}, {} and {}",
                peer.pid, peer.uid, task.uid, task.euid, task.suid
            ),
        ));
    }
    Ok(task)
}

/// Modes that a peer may have.
fn modes(server: &Server, peer: Peer) -> u32 {
    match peer.trial {
        Some(mode) => mode.bit(),
        None => server.offered(),
    }
}

/// Takes the first message of an enrolment; what is to be answered.
pub fn hello(
    server: &Server,
    connection: &mut Connection,
    hello: abi::Hello,
) -> Result<abi::Challenge, Refusal> {
    if hello.version != abi::VERSION {
        return Err(Refusal::new(
            libc::EPROTONOSUPPORT,
            format!(
                "this kdregd speaks version {}, not {}",
                abi::VERSION,
                hello.version
            ),
        ));
    }
    let peer = connection.peer;
    let offered = modes(server, peer);
    if offered == 0 {
        return Err(Refusal::new(
            libc::EOPNOTSUPP,
            format!("no mode is proven on this kernel ({})", server.why_none()),
        ));
    }
    let capacity = server.limits.capacity(hello.capacity);
    if peer.trial.is_none() {
        server.clients.may_add(peer.uid, capacity, &server.limits)?;
    }
    let task = process(server, peer)?;
    let nonce = random()?;
    connection.challenge(Challenged {
        mm: task.mm,
        start_time: task.start_time,
        executions: task.executions,
        nonce,
        capacity,
    });
    Ok(abi::Challenge {
        header: abi::Challenge::header(),
        nonce,
        modes: offered,
        subscribed_modes: Mode::Notifier.bit() & offered,
    })
}

/// Takes its second message, with who has sent it, and sends the grant. `other`: whether
/// a connection has somebody at its other end.
pub fn proof(
    server: &mut Server,
    connection: &mut Connection,
    challenged: Challenged,
    (proof, sender): (abi::Proof, Option<u32>),
    other: impl FnOnce(RawFd) -> bool,
) -> Result<(), Refusal> {
    let peer = connection.peer;
    answers(&proof, sender, peer, challenged.nonce)?;
    let task = same(server, peer, &challenged)?;
    let mode = choose(server, peer, proof.mode, &task)?;
    if peer.trial.is_none() {
        // Again: others may have come since its hello.
        server
            .clients
            .may_add(peer.uid, challenged.capacity, &server.limits)?;
    }
    attach(server, mode)?;
    make_room(server, challenged.mm, other)?;

    let identity = random()?;
    let maps = ClientMaps::new(challenged.capacity, mode, identity)?;
    match maps.insert(&server.generation, challenged.mm)? {
        Inserted::Yes => {}
        Inserted::Exists => return Err(busy(peer)),
        Inserted::Full => {
            return Err(Refusal::new(
                libc::EUSERS,
                "there is no room for another log",
            ));
        }
    }
    let finished = finish(server, connection, &challenged, mode, identity, &maps);
    if finished.is_err() {
        // Nobody has it.
        maps::take_out(&server.generation, challenged.mm)?;
    }
    finished
}

/// Attaches what a mode needs. Whoever is to try again waits in the client, and not here.
fn attach(server: &mut Server, mode: Mode) -> Result<(), Refusal> {
    let attached = server
        .attach_mode(mode)
        .with_context(|| format!("cannot attach what mode {} needs", mode.name()));
    attached.map_err(|error| match is_still_attached(&error) {
        true => Refusal::new(libc::EAGAIN, format!("{error:#}")),
        false => error.into(),
    })
}

/// What remains when its log is there. Only now is it sure whose it is: if the
/// address space were gone since, and its `mm_struct` another's, the process would be
/// gone, too, or have executed a program; and if it goes from now on, that ends the log.
fn finish(
    server: &mut Server,
    connection: &mut Connection,
    challenged: &Challenged,
    mode: Mode,
    identity: u64,
    maps: &ClientMaps,
) -> Result<(), Refusal> {
    let peer = connection.peer;
    let task = same(server, peer, challenged)?;
    if mode == Mode::Notifier && task.subscribed == 0 {
        return Err(unsubscribed());
    }
    let seen = orders::look(&server.generation, challenged.mm)?;
    if seen.is_none_or(|seen| seen.dead || seen.identity != identity) {
        return Err(Refusal::new(
            libc::EAGAIN,
            "another process had its address space meanwhile",
        ));
    }
    let proof = server.proofs.get(&mode);
    let grant = abi::Grant {
        header: abi::Grant::header(),
        mode: mode.number(),
        capacity: challenged.capacity,
        capabilities: proof.map_or(0, |proof| proof.capabilities.bits()),
        identity,
        log_bytes: abi::log_bytes(challenged.capacity) as u64,
        guard_bytes: size_of::<abi::Guard>() as u64,
        ring_bytes: maps.ring_bytes(),
        text: padded(&format!(
            "{}, mode {}: {}",
            server.features.release,
            mode.name(),
            proof.map_or_else(|| "on trial".into(), |proof| proof.summary())
        )),
    };
    let descriptors = [
        maps.log.as_fd().as_raw_fd(),
        server.generation.map("guard").as_fd().as_raw_fd(),
        maps.ring.as_fd().as_raw_fd(),
    ];
    wire::send(connection.socket.as_fd(), grant.as_bytes(), &descriptors)
        .map_err(|error| Refusal::new(error as i32, format!("cannot send: {error}")))?;
    connection.state = State::Granted {
        mm: challenged.mm,
        identity,
    };
    server.clients.add(
        challenged.mm,
        Client {
            // As the kernel's tasks have it, in whatever namespace kdregd is.
            pid: task.tgid,
            uid: peer.uid,
            mode: mode.number(),
            capacity: challenged.capacity,
            identity,
            connection: Some(connection.socket.as_raw_fd()),
        },
    );
    Ok(())
}

/// Whether a proof is one: the number that was told, from the process that connected.
fn answers(proof: &abi::Proof, sender: Option<u32>, peer: Peer, nonce: u64) -> Result<(), Refusal> {
    if proof.nonce != nonce {
        return Err(Refusal::new(
            libc::EACCES,
            "that is not the number that was told",
        ));
    }
    if sender != Some(peer.pid) {
        return Err(Refusal::new(
            libc::EACCES,
            "another process has sent it than the one that connected",
        ));
    }
    Ok(())
}

/// The process, if it is the one that was challenged, with the memory it had then.
fn same(server: &Server, peer: Peer, challenged: &Challenged) -> Result<Task, Refusal> {
    let task = process(server, peer)?;
    let now = (task.mm, task.start_time, task.executions);
    if now != (challenged.mm, challenged.start_time, challenged.executions) {
        return Err(Refusal::new(
            libc::ESRCH,
            "the process is another than before",
        ));
    }
    Ok(task)
}

fn unsubscribed() -> Refusal {
    Refusal::new(
        libc::ENOTCONN,
        "mode notifier: nobody has subscribed to the process's MMU notifications",
    )
}

fn choose(server: &Server, peer: Peer, wanted: u32, task: &Task) -> Result<Mode, Refusal> {
    let offered = modes(server, peer);
    let fits = |mode: &Mode| {
        // Mode flush cannot tell of who sleeps in a subscriber's code since before it was
        // attached (`bpf/images.h`).
        let subscribed = (*mode == Mode::Notifier) == (task.subscribed != 0);
        offered & mode.bit() != 0 && subscribed
    };
    if wanted == 0 {
        return Mode::ALL.into_iter().find(fits).ok_or_else(|| unfit(task));
    }
    let mode = Mode::ALL.into_iter().find(|mode| mode.number() == wanted);
    let mode = mode.filter(|mode| offered & mode.bit() != 0);
    let mode = mode.ok_or_else(|| {
        Refusal::new(
            libc::EOPNOTSUPP,
            format!("mode {wanted} is not offered on this kernel"),
        )
    })?;
    if fits(&mode) {
        Ok(mode)
    } else {
        Err(unfit(task))
    }
}

/// Why a process can have no mode that it wants and is offered.
fn unfit(task: &Task) -> Refusal {
    if task.subscribed == 0 {
        return unsubscribed();
    }
    Refusal::new(
        libc::EOPNOTSUPP,
        "mode flush is not for who has subscribed to MMU notifications",
    )
}

fn busy(peer: Peer) -> Refusal {
    Refusal::new(libc::EBUSY, format!("process {} has a log", peer.pid))
}

/// Whether the other end has gone away, though nobody has been told yet.
pub fn has_hung_up(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::empty())];
    let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|_| {
        fds[0]
            .revents()
            .is_some_and(|events| events.intersects(gone))
    })
}

/// If the address space has a log that nobody is behind any more: ends it.
/// `lives` says whether a connection does.
fn make_room(
    server: &mut Server,
    mm: u64,
    lives: impl FnOnce(RawFd) -> bool,
) -> Result<(), Refusal> {
    let Some(seen) = orders::look(&server.generation, mm)? else {
        return Ok(());
    };
    let connection = server.clients.get(mm).and_then(|client| client.connection);
    if !seen.dead && connection.is_some_and(lives) {
        return Err(Refusal::new(libc::EBUSY, "the process has a log already"));
    }
    ends::end(server, mm, seen.identity)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_connected_can_answer() {
        let peer = Peer {
            pid: 7,
            uid: 1000,
            trial: None,
        };
        let proof = |nonce| abi::Proof {
            nonce,
            ..Default::default()
        };
        let refused = |nonce, sender| answers(&proof(nonce), sender, peer, 42).map_err(|r| r.errno);
        assert_eq!(refused(42, Some(7)), Ok(()));
        for (nonce, sender) in [(42, Some(8)), (42, None), (41, Some(7)), (0, Some(7))] {
            assert_eq!(refused(nonce, sender), Err(libc::EACCES));
        }
    }
}
