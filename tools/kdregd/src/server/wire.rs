// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets, and descriptors with them.

use kdreg::monitor::bpf::abi;
use nix::errno::Errno;
use nix::sys::socket::{self, ControlMessage, MsgFlags, UnixAddr};
use std::io::{IoSlice, Write as _};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// What was received.
pub enum Received {
    /// A packet of this many bytes.
    Packet(usize),
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

/// Receives a packet. Never waits. Descriptors that come with it are closed by
/// the kernel, as there is no room for them.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8; abi::MESSAGE_MAX]) -> Received {
    match socket::recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
        Ok(0) => Received::Closed,
        Ok(length) => Received::Packet(length),
        Err(Errno::EAGAIN | Errno::EINTR) => Received::Nothing,
        Err(_) => Received::Closed,
    }
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
