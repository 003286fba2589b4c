// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asking kdregd how it is, for `kdreg_info`.

use super::abi::{self, Message, Refused, Status, StatusPart};
use super::enrol::text;
use super::wire::Connection;

/// Asks for the status: JSON text, as kdregd made it.
///
/// # Errors
/// Why there is none, for people.
pub fn ask() -> Result<String, String> {
    let say = |refusal: super::Refusal| refusal.to_string();
    let connection = Connection::open().map_err(say)?;
    connection
        .send(&Status {
            header: Status::header(),
            version: abi::VERSION,
            reserved: 0,
        })
        .map_err(say)?;
    let mut all = Vec::new();
    let mut bytes = vec![0; abi::MESSAGE_MAX];
    loop {
        let received = connection.receive(&mut bytes).map_err(say)?;
        let message = &bytes[..received.length];
        if let Some(refused) = Refused::from_bytes(message) {
            return Err(text(&refused.text).to_owned());
        }
        let part = StatusPart::from_bytes(message).ok_or("kdregd's answer makes no sense")?;
        all.extend_from_slice(&message[size_of::<StatusPart>()..]);
        if part.more == 0 {
            return String::from_utf8(all).map_err(|error| error.to_string());
        }
        if all.len() > MOST {
            return Err("kdregd does not come to an end".to_owned());
        }
    }
}

/// The longest text that is taken.
const MOST: usize = 64 << 20;
