// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each backend could do here, and why not.

use super::backend::{Capabilities, Kind};
use super::refusal::Refusal;
use super::shared;
use crate::errno::Errno;

/// The answer of [`probe`].
#[derive(Clone, Debug)]
pub struct Probe {
    /// The backend asked about.
    pub kind: Kind,
    /// Why it does not work here, if it does not.
    pub error: Option<Errno>,
    /// What it sees here; nothing if it does not work.
    pub capabilities: Capabilities,
    /// One line: why it does not work, or what kind of service to expect.
    pub reason: String,
}

/// Tries a backend, without side effects that last.
pub fn probe(kind: Kind) -> Probe {
    match shared::make(kind, 0) {
        Ok(backend) => {
            let capabilities = backend.capabilities();
            let reason = match kind {
                Kind::Kernel => "sees everything, at one load per check",
                Kind::Bpf => "sees what kdregd has proven here, at a few loads per check",
                Kind::Userfaultfd if capabilities.contains(Capabilities::ALL_MEMORY) => {
                    "watches any memory, through a handler thread"
                }
                Kind::Userfaultfd => {
                    "watches anonymous and shared memory only: Linux before 6.7 has no more"
                }
                Kind::None => "caches nothing: every transfer is registered for itself",
            };
            Probe {
                kind,
                error: None,
                capabilities,
                reason: reason.to_owned(),
            }
        }
        Err(Refusal { error, reason }) => Probe {
            kind,
            error: Some(error),
            capabilities: Capabilities::NONE,
            reason: reason.to_string(),
        },
    }
}
