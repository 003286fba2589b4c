// SPDX-License-Identifier: MIT OR Apache-2.0
//! Waiting for whatever comes next, and doing it: one thread, which never waits
//! for a client.

use super::connection::{Connection, Peer, State};
use super::listener::Listener;
use super::refusal::Refusal;
use super::wire::Packet;
use super::{Server, ends, enrol, signals, status, wire};
use crate::kernel::{clients, switches};
use anyhow::{Context, Result};
use kdreg::monitor::bpf::abi::{self, Message as _};
use libbpf_rs::{RingBuffer, RingBufferBuilder};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signalfd::SignalFd;
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Connections that have not been granted a log, at most: of all, and of one user.
const UNDECIDED: usize = 1024;
const UNDECIDED_OF_USER: usize = 64;
/// How often those are looked through that take too long, and that the dead are,
/// and the guard is looked at.
const ROUND: Duration = Duration::from_secs(5);
/// How often it is while a processor is uncertain, or nothing can be attached.
const SOON: Duration = Duration::from_millis(200);
/// How long it is not, though something was lost: nobody is to keep kdregd from its
/// other work by losing much.
const REST: Duration = Duration::from_millis(50);

/// Why the loop has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By a signal: kdregd goes, all else stays.
    Signal,
    /// The guard is dead: this generation is of no use any more.
    Dead,
    /// What was waited for has come.
    Done,
}

/// What is waited for.
pub struct Loop<'a> {
    server: &'a mut Server,
    listener: Option<&'a Listener>,
    connections: HashMap<RawFd, Connection>,
    epoll: Epoll,
    signals: SignalFd,
    /// Address spaces that are gone, as programs report them.
    gone: Rc<RefCell<Vec<u64>>>,
    ends: RingBuffer<'static>,
    buffer: Box<[u8; abi::MESSAGE_MAX]>,
    next_round: Instant,
    next_look: Instant,
    last_look: Instant,
    /// The guard's word when it was looked at; `None`: it was not.
    guard: Option<u64>,
    /// What was lost by the last round; `None`: there was none.
    losses: Option<u64>,
}

impl<'a> Loop<'a> {
    /// Begins to wait. Without a listener for nobody but those who are added.
    pub fn new(server: &'a mut Server, listener: Option<&'a Listener>) -> Result<Loop<'a>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let signals = signals::descriptor()?;
        let gone = Rc::new(RefCell::new(Vec::new()));
        let noted = Rc::clone(&gone);
        let mut builder = RingBufferBuilder::new();
        builder.add(server.generation.map("ends"), move |bytes: &[u8]| {
            if let Ok(bytes) = bytes.try_into() {
                noted.borrow_mut().push(u64::from_ne_bytes(bytes));
            }
            0
        })?;
        let ends = builder.build().context("map ends")?;
        let watch = |fd: BorrowedFd<'_>| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, fd.as_raw_fd() as u64);
            epoll.add(fd, event).context("epoll")
        };
        watch(signals.as_fd())?;
        // SAFETY: the ring buffer's own, open as long as it is.
        watch(unsafe { BorrowedFd::borrow_raw(ends.epoll_fd()) })?;
        if let Some(listener) = listener {
            watch(listener.socket.as_fd())?;
        }
        Ok(Loop {
            server,
            listener,
            connections: HashMap::new(),
            epoll,
            signals,
            gone,
            ends,
            buffer: Box::new([0; abi::MESSAGE_MAX]),
            next_round: Instant::now(),
            next_look: Instant::now(),
            last_look: Instant::now(),
            guard: None,
            losses: None,
        })
    }

    /// Serves one more.
    fn add(&mut self, connection: Connection) -> Result<()> {
        let fd = connection.socket.as_raw_fd();
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        self.epoll
            .add(connection.socket.as_fd(), EpollEvent::new(flags, fd as u64))
            .context("epoll")?;
        self.connections.insert(fd, connection);
        Ok(())
    }

    /// Serves a child of our own at the other end of `socket`, until nobody can
    /// write to the pipe `done` any more.
    pub fn serve_trial(
        &mut self,
        socket: OwnedFd,
        peer: Peer,
        done: BorrowedFd<'_>,
    ) -> Result<End> {
        self.add(Connection::new(socket, peer).context("credentials")?)?;
        // Without a flag its end alone is reported.
        let event = EpollEvent::new(EpollFlags::empty(), done.as_raw_fd() as u64);
        self.epoll.add(done, event).context("epoll")?;
        let end = self.run(Some(done.as_raw_fd()));
        let trials: Vec<RawFd> = self.connections.keys().copied().collect();
        for fd in trials {
            self.close(fd)?;
        }
        end
    }

    /// Until there is a reason to end.
    pub fn run(&mut self, done: Option<RawFd>) -> Result<End> {
        loop {
            let now = Instant::now();
            // Before anybody is served, too.
            if now >= self.next_look {
                self.look_at_guard(now)?;
            }
            if self.server.is_over()? {
                return Ok(End::Dead);
            }
            if now >= self.next_round {
                self.round(now)?;
            }
            let mut events = [EpollEvent::empty(); 64];
            let next = self.next_round.min(self.next_look);
            let wait = next.saturating_duration_since(now);
            let wait = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
            let count = match self.epoll.wait(&mut events, wait) {
                Ok(count) => count,
                Err(Errno::EINTR) => 0,
                Err(error) => return Err(error).context("epoll"),
            };
            // Who has gone comes first: it makes room for who comes.
            self.take_ends()?;
            for event in &events[..count] {
                let fd = event.data() as RawFd;
                if Some(fd) == done {
                    return Ok(End::Done);
                } else if fd == self.signals.as_raw_fd() {
                    if matches!(self.signals.read_signal(), Ok(Some(_))) {
                        return Ok(End::Signal);
                    }
                } else if self.is_listener(fd) {
                    self.accept()?;
                } else if self.connections.contains_key(&fd) {
                    self.serve(fd, event.events())?;
                }
            }
        }
    }

    fn is_listener(&self, fd: RawFd) -> bool {
        self.listener
            .is_some_and(|listener| listener.socket.as_raw_fd() == fd)
    }

    /// What is to be done now and then.
    fn round(&mut self, now: Instant) -> Result<()> {
        self.next_round = now + ROUND;
        let late: Vec<RawFd> = self
            .connections
            .iter_mut()
            .filter_map(|(fd, connection)| connection.gives_up(now).then_some(*fd))
            .collect();
        for fd in late {
            self.close(fd)?;
        }
        let losses = self.server.generation.guard()?.word >> abi::GUARD_EPOCH_SHIFT;
        if self.losses.replace(losses) == Some(losses) {
            ends::clear(self.server)
        } else {
            // One that was passed over may be the program that sees the end of an
            // address space. And at first there is what another kdregd has left.
            ends::sweep(self.server)
        }
    }

    /// Nobody waits for a switch of tasks that may not come, nor for a guard that is held.
    fn look_at_guard(&mut self, now: Instant) -> Result<()> {
        let held = self.server.look_for_ends()?;
        let word = self.server.generation.guard()?.word;
        let uncertain = word & abi::GUARD_UNCERTAIN != 0;
        let soon = uncertain || held || self.server.settling.is_some();
        self.next_look = now + if soon { SOON } else { ROUND };
        self.last_look = now;
        let before = self.guard.replace(word);
        // All the time since the last look, or so it seems.
        if before == Some(word) && uncertain {
            switches::force(&self.server.generation)?;
        }
        let losses = |word: u64| word >> abi::GUARD_EPOCH_SHIFT;
        if before.map(losses) != Some(losses(word)) {
            // At first, too: there may have been some since anybody looked.
            clients::wake_all(&self.server.generation)?;
        }
        Ok(())
    }

    fn take_ends(&mut self) -> Result<()> {
        self.ends.consume().context("map ends")?;
        let gone = std::mem::take(&mut *self.gone.borrow_mut());
        for mm in gone {
            if mm == 0 {
                self.next_look = self.next_look.min(self.last_look + REST);
            } else {
                ends::space_gone(self.server, mm)?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        let Some(listener) = self.listener else {
            return Ok(());
        };
        // As many as there are, but not for ever.
        for _ in 0..64 {
            let socket = match listener.accept() {
                Ok(socket) => socket,
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::ECONNABORTED | Errno::EINTR) => continue,
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => {
                    eprintln!("kdregd: no descriptor for another client");
                    // Until somebody goes, the socket stays readable.
                    std::thread::sleep(Duration::from_millis(10));
                    return Ok(());
                }
                Err(error) => return Err(error).context("accept"),
            };
            let Ok(mut connection) = Connection::accepted(socket) else {
                continue;
            };
            if let Some(refusal) = self.crowded(connection.peer.uid) {
                let _ = connection.send([refusal.message().as_bytes().to_vec()]);
                continue;
            }
            self.add(connection)?;
        }
        Ok(())
    }

    /// Whether too many are undecided already.
    fn crowded(&self, uid: u32) -> Option<Refusal> {
        let undecided = || {
            self.connections
                .values()
                .filter(|connection| !matches!(connection.state, State::Granted { .. }))
        };
        let of_user = || undecided().filter(|connection| connection.peer.uid == uid);
        let full = undecided().count() >= UNDECIDED
            || (uid != 0 && of_user().count() >= UNDECIDED_OF_USER);
        full.then(|| Refusal::new(libc::EAGAIN, "too many are enrolling this moment"))
    }

    fn serve(&mut self, fd: RawFd, events: EpollFlags) -> Result<()> {
        if events.contains(EpollFlags::EPOLLOUT) {
            let Some(connection) = self.connections.get_mut(&fd) else {
                return Ok(());
            };
            let flushed = connection.flush();
            return self.sent(fd, flushed);
        }
        if events.contains(EpollFlags::EPOLLIN) {
            // Taken out while it is served, so that others can be looked at.
            let Some(mut connection) = self.connections.remove(&fd) else {
                return Ok(());
            };
            let received = wire::receive(connection.socket.as_fd(), &mut self.buffer);
            let answered = match received {
                wire::Received::Packet(packet) => Some(self.answer(&mut connection, packet)),
                wire::Received::Nothing => None,
                wire::Received::Closed => Some(Err(Errno::ECONNRESET)),
            };
            self.connections.insert(fd, connection);
            if let Some(answered) = answered {
                return self.sent(fd, answered);
            }
        }
        let gone = EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLERR;
        if events.intersects(gone) {
            self.close(fd)?;
        }
        Ok(())
    }

    /// Does what a packet asks for. Whether all of the answer is sent.
    fn answer(&mut self, connection: &mut Connection, packet: Packet) -> Result<bool, Errno> {
        let bytes = &self.buffer[..packet.length];
        let answer = match connection.state {
            State::New => {
                if let Some(hello) = abi::Hello::from_bytes(bytes) {
                    enrol::hello(self.server, connection, hello)
                        .map(|challenge| vec![challenge.as_bytes().to_vec()])
                } else if abi::Status::from_bytes(bytes).is_some() {
                    let text = status::text(self.server, connection.peer.uid);
                    // One question each: whoever has more has to queue again.
                    connection.state = State::Closing;
                    Ok(wire::parts(&text))
                } else {
                    Err(unknown())
                }
            }
            State::Challenged(challenged) => match abi::Proof::from_bytes(bytes) {
                Some(proof) => {
                    let connections = &self.connections;
                    let lives = |fd| {
                        connections
                            .get(&fd)
                            .is_some_and(|other| !enrol::has_hung_up(other.socket.as_fd()))
                    };
                    let given = (proof, packet.sender);
                    enrol::proof(self.server, connection, challenged, given, lives)
                        .map(|()| Vec::new())
                }
                None => Err(unknown()),
            },
            // Nothing more is to be asked.
            State::Granted { .. } => return Err(Errno::EPROTO),
            State::Closing => return Ok(true),
        };
        match answer {
            Ok(packets) => connection.send(packets),
            Err(refusal) => {
                connection.state = State::Closing;
                connection.send([refusal.message().as_bytes().to_vec()])
            }
        }
    }

    /// What follows from how far sending came.
    fn sent(&mut self, fd: RawFd, result: Result<bool, Errno>) -> Result<()> {
        let Some(connection) = self.connections.get(&fd) else {
            return Ok(());
        };
        match result {
            Err(_) => self.close(fd),
            Ok(true) if matches!(connection.state, State::Closing) => self.close(fd),
            Ok(all) => {
                let mut flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
                flags.set(EpollFlags::EPOLLOUT, !all);
                let mut event = EpollEvent::new(flags, fd as u64);
                self.epoll
                    .modify(connection.socket.as_fd(), &mut event)
                    .context("epoll")
            }
        }
    }

    fn close(&mut self, fd: RawFd) -> Result<()> {
        if let Some(connection) = self.connections.remove(&fd) {
            if let State::Granted { mm, identity } = connection.state {
                ends::end(self.server, mm, identity)?;
            }
        }
        Ok(())
    }
}

impl Drop for Loop<'_> {
    /// Clients outlive kdregd, which from now on knows no connections of theirs.
    fn drop(&mut self) {
        self.server.clients.disconnect();
    }
}

fn unknown() -> Refusal {
    Refusal::new(libc::EBADMSG, "that is not a message that kdregd expects")
}
