// SPDX-License-Identifier: MIT OR Apache-2.0
//! Becoming a client of kdregd.
//!
//! kdregd has to know which address space it is that asks. The socket tells it who
//! has connected, and who sends each message; what kdregd chose is sent back, so that it
//! is known to have been sent after kdregd had looked.

use super::abi::{self, Challenge, Grant, Hello, Message, Proof, Refused};
use super::maps::Maps;
use super::subscribe::Subscription;
use super::wake::Ring;
use super::wire::{Connection, Received, malformed};
use crate::descriptor::Descriptor;
use crate::environment;
use crate::errno::Errno;
use crate::memory::Share;
use crate::monitor::refusal::Refusal;
use std::os::fd::{AsFd, IntoRawFd, OwnedFd};

/// What a client has.
pub(super) struct Enrolled {
    pub maps: Share<Maps>,
    pub ring: Ring,
    /// Readable while the ring holds something.
    pub ring_fd: Descriptor,
    /// While it is open the log is written to. Nothing is read from it any more:
    /// kdregd may leave there what is to live as long as the client.
    pub connection: Descriptor,
    /// One of `abi::MODE_*`.
    pub mode: u32,
    /// `KDREG_CAP_*`.
    pub capabilities: u64,
}

/// Enrols the process's address space, with a subscription that may be made already.
pub(super) fn enrol(subscription: &mut Subscription) -> Result<Enrolled, Refusal> {
    let capacity = wanted_capacity()?;
    let all = 1 << abi::MODE_NOTIFIER | 1 << abi::MODE_FLUSH;
    match converse(capacity, all, subscription) {
        // Another way may be open still.
        Err((refusal, tried)) if tried != 0 && is_final(refusal.error) => {
            converse(capacity, all & !tried, subscription).map_err(|_| refusal)
        }
        other => other.map_err(|(refusal, _)| refusal),
    }
}

/// Whether an error is about what was asked for. Of the others two pass, and then the
/// better mode is to be had; and who did not answer is not asked again.
fn is_final(error: Errno) -> bool {
    ![libc::EBUSY, libc::EAGAIN, libc::ETIMEDOUT].contains(&error.value())
}

/// One conversation, about some of the modes. An error comes with the mode that
/// was asked for in vain, as a bit; 0: none was.
fn converse(
    capacity: u32,
    modes: u32,
    subscription: &mut Subscription,
) -> Result<Enrolled, (Refusal, u32)> {
    let early = |refusal| (refusal, 0);
    let connection = Connection::open().map_err(early)?;
    let challenge = challenge(&connection, capacity).map_err(early)?;
    let mode = choose(&challenge, modes, subscription).map_err(early)?;
    let late = |refusal| (refusal, 1 << mode);
    let (grant, fds) = prove(&connection, &challenge, mode).map_err(late)?;
    enrolled(connection, &grant, fds).map_err(late)
}

/// How many entries the environment asks for; 0: it does not.
fn wanted_capacity() -> Result<u32, Refusal> {
    let Some(value) = environment::variable(c"KDREG_BPF_LOG_ENTRIES") else {
        return Ok(0);
    };
    match value.as_str() {
        "" => Ok(0),
        text => text.parse().map_err(|_| {
            Refusal::new(
                Errno::EINVAL,
                format_args!("KDREG_BPF_LOG_ENTRIES={text} is no number of entries"),
            )
        }),
    }
}

fn challenge(connection: &Connection, capacity: u32) -> Result<Challenge, Refusal> {
    connection.send(&Hello {
        header: Hello::header(),
        version: abi::VERSION,
        capacity,
        flags: 0,
    })?;
    let mut bytes = [0; ROOM];
    let received = connection.receive(&mut bytes)?;
    message(&bytes[..received.length])
}

/// Room for any message that is expected.
const ROOM: usize = 1024;

/// A message that was asked for; or that it is refused.
fn message<T: Message>(bytes: &[u8]) -> Result<T, Refusal> {
    if let Some(refused) = Refused::from_bytes(bytes) {
        return Err(refusal(&refused));
    }
    T::from_bytes(bytes).ok_or_else(malformed)
}

/// What kdregd said.
fn refusal(refused: &Refused) -> Refusal {
    let error = match refused.status.checked_neg() {
        // Its own want is none of this process's.
        Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => Errno::new(libc::ENOBUFS),
        Some(value @ 1..=4095) => Errno::new(value),
        _ => Errno::new(libc::EPROTO),
    };
    Refusal::new(error, format_args!("kdregd: {}", text(&refused.text)))
}

/// The text that a message carries, up to what is none.
pub(super) fn text(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|byte| byte.is_ascii_control());
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// The mode to ask for: the notifier's where it can be had, since who is not
/// involved pays nothing for that.
fn choose(
    challenge: &Challenge,
    modes: u32,
    subscription: &mut Subscription,
) -> Result<u32, Refusal> {
    let offered = |mode: u32| challenge.modes & modes & 1 << mode != 0;
    let mut why_not = None;
    if offered(abi::MODE_NOTIFIER) {
        if challenge.subscribed_modes & 1 << abi::MODE_NOTIFIER == 0 {
            return Ok(abi::MODE_NOTIFIER);
        }
        match subscription.ensure() {
            Ok(()) => return Ok(abi::MODE_NOTIFIER),
            Err(refusal) => why_not = Some(refusal),
        }
    }
    if offered(abi::MODE_FLUSH) && challenge.subscribed_modes & 1 << abi::MODE_FLUSH == 0 {
        return Ok(abi::MODE_FLUSH);
    }
    Err(why_not.unwrap_or_else(|| {
        Refusal::new(
            Errno::ENODEV,
            format_args!("kdregd has proven no mode on this kernel (kdregd --check)"),
        )
    }))
}

/// Shows whose memory it is, by being who answers.
fn prove(
    connection: &Connection,
    challenge: &Challenge,
    mode: u32,
) -> Result<(Grant, Fds), Refusal> {
    connection.send(&Proof {
        header: Proof::header(),
        nonce: challenge.nonce,
        mode,
        reserved: 0,
    })?;
    let mut bytes = [0; ROOM];
    let Received { length, fds } = connection.receive(&mut bytes)?;
    let grant: Grant = message(&bytes[..length])?;
    if grant.mode != mode {
        return Err(malformed());
    }
    Ok((grant, fds))
}

type Fds = [Option<OwnedFd>; 3];

fn enrolled(connection: Connection, grant: &Grant, fds: Fds) -> Result<Enrolled, Refusal> {
    let [Some(log), Some(guard), Some(ring_fd)] = fds else {
        return Err(malformed());
    };
    let maps = Share::new(Maps::new(grant, log.as_fd(), guard.as_fd())?)?;
    let ring = Ring::new(ring_fd.as_fd())
        .map_err(|error| Refusal::new(error, format_args!("cannot map kdregd's ring: {error}")))?;
    Ok(Enrolled {
        maps,
        ring,
        ring_fd: Descriptor::new(ring_fd.into_raw_fd()),
        connection: connection.into_descriptor(),
        mode: grant.mode,
        capabilities: grant.capabilities,
    })
}
