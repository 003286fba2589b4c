// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking the kdregd that runs how it is.

use anyhow::{Context, Result, bail};
use kdreg::monitor::bpf::abi::{self, Message as _};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::time::{TimeVal, TimeValLike as _};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Its answer, as JSON.
pub fn status(path: &Path) -> Result<String> {
    let shown = path.display();
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // It is not waited for for ever.
    socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(30))?;
    let address = UnixAddr::new(path).with_context(|| shown.to_string())?;
    socket::connect(socket.as_raw_fd(), &address)
        .with_context(|| format!("{shown}: no kdregd answers"))?;
    let question = abi::Status {
        header: abi::Status::header(),
        version: abi::VERSION,
        reserved: 0,
    };
    socket::send(
        socket.as_raw_fd(),
        question.as_bytes(),
        MsgFlags::MSG_NOSIGNAL,
    )?;
    let mut text = Vec::new();
    let mut bytes = vec![0; abi::MESSAGE_MAX];
    loop {
        let length = socket::recv(socket.as_raw_fd(), &mut bytes, MsgFlags::empty())?;
        let Some(part) = abi::StatusPart::from_bytes(&bytes[..length]) else {
            bail!("{shown}: what answers is no kdregd");
        };
        text.extend_from_slice(&bytes[size_of::<abi::StatusPart>()..length]);
        if part.more == 0 {
            return String::from_utf8(text).context("not text");
        }
    }
}
