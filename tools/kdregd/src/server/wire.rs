// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets, and descriptors with them.

use kdreg::monitor::bpf::abi;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, sockopt};
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// What the kernel says of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet {
    /// In bytes.
    pub length: usize,
    /// The process that sent it; `None`: that is not known (of what was sent before
    /// `tell_senders`, or came with descriptors, which no message does).
    pub sender: Option<u32>,
}

/// What was received.
pub enum Received {
    /// A packet, which is in the buffer.
    Packet(Packet),
    /// Nothing yet.
    Nothing,
    /// The other end is closed, or broken.
    Closed,
}

/// Sends a packet, with descriptors. Never waits: `EAGAIN`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[RawFd]) -> Result<(), Errno> {
    let control = [ControlMessage::ScmRights(descriptors)];
    let control = if descriptors.is_empty() {
        &[][..]
    } else {
        &control[..]
    };
    socket::sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// From now on the kernel says of each packet who sent it.
pub fn tell_senders(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    socket::setsockopt(&socket, sockopt::PassCred, &true)
}

/// Whether there is a packet that nobody has received, or its end.
pub fn has_something(socket: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Receives a packet. Never waits. Descriptors that come with it are closed by
/// the kernel, as there is no room for them.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8; abi::MESSAGE_MAX]) -> Received {
    // Credentials come first, and fill it.
    let mut space = nix::cmsg_space!(socket::UnixCredentials);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let message = socket::recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags);
    let message = match message {
        Ok(message) if message.bytes == 0 => return Received::Closed,
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return Received::Nothing,
        Err(_) => return Received::Closed,
    };
    let mut sender = None;
    // An error, where something was cut off.
    for control in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmCredentials(credentials) = control {
            // 0: nobody that there is here.
            sender = u32::try_from(credentials.pid())
                .ok()
                .filter(|pid| *pid != 0);
        }
    }
    Received::Packet(Packet {
        length: message.bytes,
        sender,
    })
}

/// A text in as many packets as it takes.
pub fn parts(text: &str) -> Vec<Vec<u8>> {
    let room = abi::MESSAGE_MAX - size_of::<abi::StatusPart>();
    let mut chunks = text.as_bytes().chunks(room).peekable();
    let mut packets = Vec::new();
    while let Some(chunk) = chunks.next() {
        let mut part = abi::StatusPart {
            header: <abi::StatusPart as abi::Message>::header(),
            more: u32::from(chunks.peek().is_some()),
            reserved: 0,
        };
        part.header.size += chunk.len() as u32;
        let mut packet = abi::Message::as_bytes(&part).to_vec();
        packet.write_all(chunk).expect("vectors grow");
        packets.push(packet);
    }
    packets
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::Message as _;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::os::fd::{AsFd, OwnedFd};

    fn packet(socket: &OwnedFd) -> Option<Packet> {
        let mut buffer = [0; abi::MESSAGE_MAX];
        match receive(socket.as_fd(), &mut buffer) {
            Received::Packet(packet) => Some(packet),
            Received::Nothing | Received::Closed => None,
        }
    }

    #[test]
    fn who_has_sent_a_packet_is_known_and_descriptors_are_not_kept() {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        assert_eq!(packet(&ours), None);
        tell_senders(ours.as_fd()).unwrap();
        let (kept, sent) = nix::unistd::pipe().unwrap();
        send(theirs.as_fd(), b"itself", &[sent.as_raw_fd()]).unwrap();
        drop(sent);
        let us = Some(std::process::id());
        assert_eq!(
            packet(&ours),
            Some(Packet {
                length: 6,
                sender: None
            })
        );
        // Its other end is gone, or this would be EAGAIN.
        assert_eq!(nix::unistd::read(&kept, &mut [0]), Ok(0));
        send(theirs.as_fd(), b"itself", &[]).unwrap();
        assert_eq!(
            packet(&ours),
            Some(Packet {
                length: 6,
                sender: us
            })
        );
        // SAFETY: the child makes one system call and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: as above.
            unsafe {
                libc::send(theirs.as_raw_fd(), c"other".as_ptr().cast(), 5, 0);
                libc::_exit(0);
            }
        }
        // SAFETY: a child of ours.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        let other = Some(child as u32);
        assert_eq!(
            packet(&ours),
            Some(Packet {
                length: 5,
                sender: other
            })
        );
    }

    #[test]
    fn long_texts_come_whole() {
        let text = "é".repeat(40_000);
        let mut whole = Vec::new();
        let packets = parts(&text);
        assert!(packets.len() > 1);
        for (i, packet) in packets.iter().enumerate() {
            assert!(packet.len() <= abi::MESSAGE_MAX);
            let part = abi::StatusPart::from_bytes(packet).unwrap();
            assert_eq!(part.header.size as usize, packet.len());
            assert_eq!(part.more != 0, i + 1 < packets.len());
            whole.extend_from_slice(&packet[size_of::<abi::StatusPart>()..]);
        }
        assert_eq!(String::from_utf8(whole).unwrap(), text);
    }
}
