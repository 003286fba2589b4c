// SPDX-License-Identifier: MIT OR Apache-2.0
//! A connection to kdregd: messages with descriptors, and an end to waiting.

use super::abi::{self, Message};
use super::peer;
use crate::descriptor::Descriptor;
use crate::environment;
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::monitor::refusal::Refusal;
use crate::pause;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long kdregd has for everything, unless the environment says: a program that
/// opens a monitor is not to wait for one that hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// So long. Whoever starts more processes at once than a machine has time for may give
/// it more.
pub(super) fn patience() -> Result<Duration, Refusal> {
    let Some(value) = environment::variable(c"KDREG_BPF_TIMEOUT") else {
        return Ok(PATIENCE);
    };
    match value.as_str() {
        "" => Ok(PATIENCE),
        text => match text.parse() {
            Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
            _ => Err(Refusal::new(
                Errno::EINVAL,
                format_args!("KDREG_BPF_TIMEOUT={text} is no number of seconds from 1 to 3600"),
            )),
        },
    }
}

/// For how long one that did hang is not asked again: a program opens many monitors, and
/// forks, and is to wait once.
const REST: Duration = Duration::from_secs(10);

type Path = [libc::c_char; 108];

/// Where nobody answered, and when. A child inherits it, and the lock, which may be
/// held: it is only tried, and nothing is done under it.
static SILENT: Mutex<Option<(Path, Instant)>> = Mutex::new(None);

/// How many descriptors come with one message at most.
pub(super) const DESCRIPTORS: usize = 3;

/// A connection that is open.
pub(super) struct Connection {
    fd: Descriptor,
    limit: Instant,
    path: Path,
}

/// What was received.
pub(super) struct Received {
    pub length: usize,
    pub fds: [Option<OwnedFd>; DESCRIPTORS],
}

/// Whatever goes wrong while talking.
fn broken(what: &str, error: Errno) -> Refusal {
    Refusal::new(error, format_args!("kdregd: {what}: {error}"))
}

/// As `broken`, of what is received.
pub(super) fn malformed() -> Refusal {
    Refusal::new(
        Errno::new(libc::EPROTO),
        format_args!("kdregd's answer makes no sense: another version?"),
    )
}

impl Connection {
    /// Connects. Makes no socket where kdregd has none.
    pub fn open() -> Result<Connection, Refusal> {
        let chosen = environment::variable(c"KDREG_BPF_SOCKET");
        let path = chosen.as_ref().map_or(abi::SOCKET, |value| value.as_str());
        let limit = Instant::now() + patience()?;
        let address = address(path)?;
        // A program under a filter of system calls may not be allowed sockets.
        if let Err(error) = look_for(&address) {
            return Err(absent(path, error));
        }
        if was_silent(&address.sun_path) {
            let error = Errno::new(libc::ETIMEDOUT);
            return Err(broken("it did not answer a short time ago", error));
        }
        // SAFETY: no pointers.
        let fd = unsafe {
            libc::socket(
                libc::AF_UNIX,
                libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        if fd < 0 {
            return Err(broken("socket", Errno::last()));
        }
        let fd = Descriptor::new(fd);
        loop {
            // SAFETY: reads a local structure of that size.
            let failed = unsafe {
                libc::connect(
                    fd.as_raw_fd(),
                    (&raw const address).cast(),
                    size_of::<libc::sockaddr_un>() as libc::socklen_t,
                )
            } != 0;
            if !failed {
                peer::check(&fd, path).map_err(|error| stranger(path, error))?;
                return Ok(Connection {
                    fd,
                    limit,
                    path: address.sun_path,
                });
            }
            match Errno::last() {
                // Many connect at once, and nothing tells when there is room.
                error if [libc::EAGAIN, libc::EINTR].contains(&error.value()) => {
                    if Instant::now() >= limit {
                        note_silence(&address.sun_path);
                        return Err(broken("it takes no connection", error));
                    }
                    pause::sleep(Duration::from_millis(1));
                }
                error => return Err(absent(path, error)),
            }
        }
    }

    /// The descriptor alone, for who has nothing more to say.
    pub fn into_descriptor(self) -> Descriptor {
        self.fd
    }

    /// Sends a message.
    pub fn send(&self, message: &impl Message) -> Result<(), Refusal> {
        let bytes = message.as_bytes();
        loop {
            // SAFETY: reads a slice.
            let sent = unsafe {
                libc::send(
                    self.fd.as_raw_fd(),
                    bytes.as_ptr().cast(),
                    bytes.len(),
                    libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT,
                )
            };
            if sent >= 0 {
                return Ok(());
            }
            match Errno::last() {
                error if error.value() == libc::EINTR => {}
                error if error.value() == libc::EAGAIN => self.wait(libc::POLLOUT)?,
                // Gone already: why, it may have said before.
                error if [libc::EPIPE, libc::ECONNRESET].contains(&error.value()) => return Ok(()),
                error => return Err(broken("cannot send", error)),
            }
        }
    }

    /// Receives a message and the descriptors that come with it.
    pub fn receive(&self, bytes: &mut [u8]) -> Result<Received, Refusal> {
        let mut reset = false;
        loop {
            self.wait(libc::POLLIN)?;
            match self.receive_now(bytes) {
                Ok(received) => return Ok(received),
                Err(error) if [libc::EINTR, libc::EAGAIN].contains(&error.value()) => {}
                // That it has not read all is said once, and before what it said.
                Err(error) if error.value() == libc::ECONNRESET && !reset => reset = true,
                Err(error) => return Err(broken("cannot receive", error)),
            }
        }
    }

    fn receive_now(&self, bytes: &mut [u8]) -> Result<Received, Errno> {
        let mut vector = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        let mut control = Control([0; CONTROL]);
        // SAFETY: zero is a value of this plain structure.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: writes to what the local structure describes.
        let length = unsafe {
            libc::recvmsg(
                self.fd.as_raw_fd(),
                &raw mut message,
                libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT,
            )
        };
        if length < 0 {
            return Err(Errno::last());
        }
        // Owned from here on, whatever else is wrong.
        // SAFETY: the kernel filled it in.
        let fds = unsafe { descriptors(&message) };
        // Zero: the other end is gone. Cut off: more than there is to say.
        let cut = message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
        if length == 0 || cut {
            let error = if cut { libc::EPROTO } else { libc::ECONNRESET };
            return Err(Errno::new(error));
        }
        Ok(Received {
            length: length.unsigned_abs(),
            fds,
        })
    }

    /// Waits until something can be done, or patience ends.
    fn wait(&self, events: libc::c_short) -> Result<(), Refusal> {
        loop {
            let left = self.limit.saturating_duration_since(Instant::now());
            let mut polled = libc::pollfd {
                fd: self.fd.as_raw_fd(),
                events,
                revents: 0,
            };
            // One more than whole milliseconds: not to ask in vain at the end.
            let left = left.as_millis() as libc::c_int + libc::c_int::from(!left.is_zero());
            // SAFETY: polls one descriptor described by a local variable.
            let ready = unsafe { libc::poll(&raw mut polled, 1, left) };
            if ready > 0 {
                return Ok(());
            }
            if ready == 0 {
                note_silence(&self.path);
                return Err(broken("no answer", Errno::new(libc::ETIMEDOUT)));
            }
            let error = Errno::last();
            if error.value() != libc::EINTR {
                return Err(broken("cannot wait", error));
            }
        }
    }
}

/// Room for the descriptors, aligned as their header is.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

// SAFETY: arithmetic only.
const CONTROL: usize =
    unsafe { libc::CMSG_SPACE((DESCRIPTORS * size_of::<libc::c_int>()) as u32) } as usize;

/// The descriptors that came with a message.
///
/// # Safety
/// recvmsg(2) filled it in, and they were not taken yet.
unsafe fn descriptors(message: &libc::msghdr) -> [Option<OwnedFd>; DESCRIPTORS] {
    let mut taken = [const { None }; DESCRIPTORS];
    let mut places = taken.iter_mut();
    // SAFETY: as the kernel laid them out; each is new, and nobody else's.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let about = &*header;
            if about.cmsg_level == libc::SOL_SOCKET && about.cmsg_type == libc::SCM_RIGHTS {
                let bytes = about.cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                let first = libc::CMSG_DATA(header).cast::<libc::c_int>();
                for index in 0..bytes / size_of::<libc::c_int>() {
                    let fd = OwnedFd::from_raw_fd(first.add(index).read_unaligned());
                    // What there is no place for is closed.
                    if let Some(place) = places.next() {
                        *place = Some(fd);
                    }
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    taken
}

/// The address of a socket.
fn address(path: &str) -> Result<libc::sockaddr_un, Refusal> {
    // SAFETY: zero is a value of this plain structure.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    // One place stays zero, the end.
    if path.is_empty() || path.len() >= address.sun_path.len() {
        return Err(Refusal::new(
            Errno::EINVAL,
            format_args!("KDREG_BPF_SOCKET is no path of at most 107 bytes"),
        ));
    }
    for (place, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(address)
}

/// Whether there is anything at an address.
fn look_for(address: &libc::sockaddr_un) -> Result<(), Errno> {
    const { assert!(offset_of!(libc::sockaddr_un, sun_path) == 2) };
    // SAFETY: zero is a value of this plain structure.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: reads a C string, and writes to a local variable.
    if unsafe { libc::stat(address.sun_path.as_ptr(), &raw mut about) } == 0 {
        Ok(())
    } else {
        Err(Errno::last())
    }
}

/// Whether whoever listens there was waited for in vain, not long ago.
fn was_silent(path: &Path) -> bool {
    let Some(silent) = SILENT.try_lock() else {
        return false;
    };
    (*silent).is_some_and(|(there, when)| there == *path && when.elapsed() < REST)
}

fn note_silence(path: &Path) {
    if let Some(mut silent) = SILENT.try_lock() {
        *silent = Some((*path, Instant::now()));
    }
}

fn stranger(path: &str, error: Errno) -> Refusal {
    Refusal::new(
        error,
        format_args!("{path} is neither root's nor this user's to listen at: {error}"),
    )
}

/// Says what to do where kdregd does not answer.
fn absent(path: &str, error: Errno) -> Refusal {
    match error.value() {
        libc::ENOENT | libc::ENOTDIR => Refusal::new(
            Errno::ENODEV,
            format_args!("no {path}: kdregd is not running (systemctl start kdregd.socket)"),
        ),
        libc::ECONNREFUSED => Refusal::new(
            Errno::ENODEV,
            format_args!("nobody listens at {path}: kdregd is not running"),
        ),
        _ => Refusal::new(error, format_args!("cannot connect to {path}: {error}")),
    }
}
