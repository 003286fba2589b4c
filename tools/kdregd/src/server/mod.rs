// SPDX-License-Identifier: MIT OR Apache-2.0
//! The socket and who is behind it.

pub mod clients;
pub mod connection;
pub mod ends;
pub mod enrol;
pub mod events;
pub mod limits;
pub mod listener;
pub mod refusal;
pub mod signals;
pub mod status;
pub mod wire;

use crate::kernel::features::Features;
use crate::kernel::generation::Generation;
use crate::kernel::programs::Mode;
use crate::proof::Proof;
use clients::Clients;
use limits::Limits;
use std::collections::BTreeMap;

/// All that kdregd knows, of one generation.
pub struct Server {
    pub generation: Generation,
    pub features: Features,
    pub limits: Limits,
    pub clients: Clients,
    /// What the self-test said of each mode that was tried.
    pub proofs: BTreeMap<Mode, Proof>,
    /// Why a mode was not tried.
    pub refused: BTreeMap<Mode, String>,
}

impl Server {
    /// The modes that clients are offered.
    pub fn offered(&self) -> u32 {
        let proven = self.proofs.iter().filter(|(_, proof)| proof.holds());
        proven.fold(0, |modes, (mode, _)| modes | mode.bit())
    }

    /// Why there is no mode to offer, for people.
    pub fn why_none(&self) -> String {
        let mut reasons: Vec<String> = self
            .refused
            .iter()
            .map(|(mode, why)| format!("{}: {why}", mode.name()))
            .collect();
        for (mode, proof) in &self.proofs {
            if let Some(why) = proof.against() {
                reasons.push(format!("{}: {why}", mode.name()));
            }
        }
        reasons.join("; ")
    }
}
