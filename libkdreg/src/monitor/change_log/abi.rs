// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kdregd, its BPF programs and this library agree on: the log, the guard,
//! and the messages of the enrolment.
//!
//! `bpf/kdreg_log.h` says the first half of it in C. Everything is in the
//! machine's own byte order: both ends run on the same kernel.
//!
//! Structures grow at their ends. A message says how long it is; a receiver
//! reads as much of it as it knows, and takes what is shorter than the first
//! version's for malformed.
#![allow(missing_docs)]

use std::mem::{offset_of, size_of};

// ---------------------------------------------------------------------------
// The log: one for each address space that is watched
// ---------------------------------------------------------------------------

/// `Log::magic` of a log that is written to: "kdreglog".
pub const LOG_MAGIC: u64 = u64::from_le_bytes(*b"kdreglog");
/// The version of the log's layout, of the guard's, and of the messages.
pub const VERSION: u32 = 1;
/// In `Log::tail`: nothing is certain any more, for ever.
pub const LOG_DEAD: u64 = 1 << 63;
/// Where the entries begin.
pub const LOG_ENTRIES: usize = 128;
/// The fewest and the most entries a log has.
pub const LOG_CAPACITY: std::ops::RangeInclusive<u32> = 64..=1 << 20;
/// How many it has when the client does not care.
pub const LOG_DEFAULT_CAPACITY: u32 = 2048;

/// A change that was logged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// Of the `n`th entry ever begun: 2n+1 while it is written, then 2n+2.
    pub sequence: u64,
    /// First byte that changed.
    pub start: u64,
    /// First byte behind it.
    pub end: u64,
    /// One of `KDREG_CHANGE_*`, as the kernel module's; 0: unknown.
    pub change: u32,
    pub reserved: u32,
}

/// What a log begins with; the entries follow at [`LOG_ENTRIES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHeader {
    /// Entries ever begun, and [`LOG_DEAD`].
    pub tail: u64,
    /// [`LOG_MAGIC`] once it is written to.
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Number of entries; a power of two.
    pub capacity: u32,
    /// One of `MODE_*`.
    pub mode: u32,
    pub flags: u32,
    /// Random, of this client.
    pub identity: u64,
    /// Entries ever finished: counted up behind each, as the last thing its writer
    /// does. Nobody is writing while it equals the number of those begun.
    pub done: u64,
    pub reserved: u64,
}

/// Length of a log with this many entries.
pub const fn log_bytes(capacity: u32) -> usize {
    LOG_ENTRIES + capacity as usize * size_of::<LogEntry>()
}

/// In `LogHeader::mode` and in messages: the MMU notifier's hooks.
pub const MODE_NOTIFIER: u32 = 1;
/// In `LogHeader::mode` and in messages: the TLB flush's hooks.
pub const MODE_FLUSH: u32 = 2;

// ---------------------------------------------------------------------------
// The guard: one for the machine
// ---------------------------------------------------------------------------

/// `Guard::magic`: "kdregwrd".
pub const GUARD_MAGIC: u64 = u64::from_le_bytes(*b"kdregwrd");
/// In `Guard::word`: nothing is certain any more, for ever.
pub const GUARD_DEAD: u64 = 1 << 63;
/// In `Guard::word`: what keeps anything from being certain now, which passes. How many
/// processors may be missing changes, and `GUARD_HELD`.
pub const GUARD_UNCERTAIN: u64 = (1 << GUARD_EPOCH_SHIFT) - 1;
/// In `Guard::word`: programs may not run any more; until kdregd has found that they do.
pub const GUARD_HELD: u64 = 1 << (GUARD_EPOCH_SHIFT - 1);
/// In `Guard::word`: where the number of losses begins.
pub const GUARD_EPOCH_SHIFT: u32 = 16;
/// In `Guard::flags`, of one that is dead: on purpose, and no kdregd is to begin
/// anew. Nothing to clients.
pub const GUARD_UNINSTALLED: u32 = 1;

/// Whether changes were lost, or may be.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// What is uncertain now (`GUARD_UNCERTAIN`), how often something was lost so far
    /// (from `GUARD_EPOCH_SHIFT` up), and `GUARD_DEAD`.
    pub word: u64,
    /// [`GUARD_MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// [`GUARD_UNINSTALLED`].
    pub flags: u32,
}

// ---------------------------------------------------------------------------
// The enrolment, over a SOCK_SEQPACKET socket: one message a packet
// ---------------------------------------------------------------------------

/// Where kdregd listens.
pub const SOCKET: &str = "/run/kdreg/kdregd.sock";

/// The client begins: [`Hello`].
pub const HELLO: u32 = 1;
/// kdregd asks for a proof that the client is who its credentials say: [`Challenge`].
pub const CHALLENGE: u32 = 2;
/// The client gives it: [`Proof`].
pub const PROOF: u32 = 3;
/// kdregd grants, with the descriptors of log, guard and ring: [`Grant`].
pub const GRANT: u32 = 4;
/// kdregd refuses, instead of any message it could send: [`Refused`].
pub const REFUSED: u32 = 5;
/// Anybody asks how kdregd is: [`Status`].
pub const STATUS: u32 = 7;
/// kdregd tells, in JSON, in as many of these as it needs: [`StatusPart`] and the
/// text behind it.
pub const STATUS_PART: u32 = 8;

/// The longest message, what follows a [`StatusPart`] included.
pub const MESSAGE_MAX: usize = 32 << 10;

/// What every message begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageHeader {
    /// Which it is.
    pub kind: u32,
    /// Its length in bytes, this included.
    pub size: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    pub header: MessageHeader,
    /// [`VERSION`].
    pub version: u32,
    /// Entries wanted, rounded up to a power of two; 0: as many as kdregd thinks
    /// right.
    pub capacity: u32,
    /// None yet: 0.
    pub flags: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    pub header: MessageHeader,
    /// To be sent back.
    pub nonce: u64,
    /// Modes offered: `1 << MODE_*`.
    pub modes: u32,
    /// Modes that need the client's address space to have a subscription to MMU
    /// notifications by the time of its proof: `1 << MODE_*`.
    pub subscribed_modes: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    pub header: MessageHeader,
    /// The challenge's. To be sent by the process that connected: kdregd looks who did.
    pub nonce: u64,
    /// One of `MODE_*`; 0: any that needs no subscription.
    pub mode: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub header: MessageHeader,
    /// One of `MODE_*`.
    pub mode: u32,
    /// As in the log.
    pub capacity: u32,
    /// What the self-test saw logged in time, as `KDREG_CAP_*`.
    pub capabilities: u64,
    /// As in the log.
    pub identity: u64,
    /// Lengths of what the descriptors are of: log and guard without the padding
    /// to whole pages; of the ring its data, a power of two of pages.
    pub log_bytes: u64,
    pub guard_bytes: u64,
    pub ring_bytes: u64,
    /// The kernel's release and what was proven on it, for people; zeros behind.
    pub text: [u8; 160],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub header: MessageHeader,
    /// Why, as a negative error number.
    pub status: i32,
    pub reserved: u32,
    /// Why, for people; zeros behind.
    pub text: [u8; 160],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub header: MessageHeader,
    /// [`VERSION`].
    pub version: u32,
    pub reserved: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusPart {
    pub header: MessageHeader,
    /// 1: another part follows.
    pub more: u32,
    pub reserved: u32,
}

/// A message, as bytes: what it is said to be.
///
/// # Safety
/// Implemented by structures without padding, of which any bytes are a value, and
/// which begin with a [`MessageHeader`].
pub unsafe trait Message: Copy {
    /// Which it is.
    const KIND: u32;

    /// The header that says what this is.
    fn header() -> MessageHeader {
        MessageHeader {
            kind: Self::KIND,
            size: size_of::<Self>() as u32,
        }
    }

    /// What is sent.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: no padding, so that every byte is initialised.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// What was received; `None` when it is another message, or not all of one.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<Self>() {
            return None;
        }
        // SAFETY: long enough, any bytes are a value, and it need not be aligned.
        let header: MessageHeader =
            unsafe { bytes.as_ptr().cast::<MessageHeader>().read_unaligned() };
        let fits = header.kind == Self::KIND
            && header.size as usize >= size_of::<Self>()
            && header.size as usize <= bytes.len();
        // SAFETY: as above.
        fits.then(|| unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }
}

macro_rules! messages {
    ($($name:ident = $kind:ident, $size:literal;)*) => {$(
        // Without padding, or its size were another.
        const _: () = assert!(size_of::<$name>() == $size);
        // SAFETY: plain integers and bytes, a header first, no padding (above).
        unsafe impl Message for $name {
            const KIND: u32 = $kind;
        }
    )*};
}

messages! {
    Hello = HELLO, 24;
    Challenge = CHALLENGE, 24;
    Proof = PROOF, 24;
    Grant = GRANT, 216;
    Refused = REFUSED, 176;
    Status = STATUS, 16;
    StatusPart = STATUS_PART, 16;
}

const _: () = {
    assert!(size_of::<LogEntry>() == 32);
    assert!(offset_of!(LogEntry, start) == 8 && offset_of!(LogEntry, end) == 16);
    assert!(offset_of!(LogEntry, change) == 24);
    assert!(size_of::<LogHeader>() == 56);
    assert!(offset_of!(LogHeader, magic) == 8 && offset_of!(LogHeader, version) == 16);
    assert!(offset_of!(LogHeader, capacity) == 20 && offset_of!(LogHeader, mode) == 24);
    assert!(offset_of!(LogHeader, identity) == 32 && offset_of!(LogHeader, done) == 40);
    assert!(size_of::<Guard>() == 24);
    assert!(offset_of!(Guard, magic) == 8 && offset_of!(Guard, version) == 16);
};
