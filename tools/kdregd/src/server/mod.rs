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

use crate::alone::Lock;
use crate::kernel::features::Features;
use crate::kernel::ftrace::Settling;
use crate::kernel::generation::Generation;
use crate::kernel::holding::{self, Found};
use crate::kernel::programs::Mode;
use crate::others;
use crate::proof::Proof;
use anyhow::Result;
use clients::Clients;
use limits::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// All that kdregd knows, of one generation.
pub struct Server {
    pub generation: Generation,
    /// Those of other builds that have clients: nobody else lets go of their guards.
    pub others: Vec<PathBuf>,
    /// The directory that is locked while a mode is attached or detached.
    pub pins: PathBuf,
    pub features: Features,
    pub limits: Limits,
    pub clients: Clients,
    /// What the self-test said of each mode that was tried.
    pub proofs: BTreeMap<Mode, Proof>,
    /// Why a mode was not tried.
    pub refused: BTreeMap<Mode, String>,
    /// Of one that rests: until it is safe to begin anew.
    pub settling: Option<Settling>,
}

impl Server {
    /// Offers nothing, with a generation that is dead, until programs can be attached.
    /// `why` they cannot.
    pub fn rest(&mut self, why: &str) {
        self.proofs.clear();
        self.refuse_all(why);
        self.settling = Some(Settling::begin());
    }

    /// Offers no mode.
    pub fn refuse_all(&mut self, why: &str) {
        self.refused = Mode::ALL.map(|mode| (mode, why.into())).into();
    }

    /// Looks at the guards, own and others'. Whether one is held still.
    pub fn look_for_ends(&mut self) -> Result<bool> {
        let features = &self.features;
        let mut held = holding::look(&self.generation, features)? == Found::Held;
        self.others.retain(|directory| {
            let found = others::look(directory, features);
            // What fails may do better at the next look.
            let stays = found.as_ref().map_or(true, Option::is_some);
            held |= matches!(found, Ok(Some(Found::Held)));
            stays
        });
        Ok(held)
    }

    /// Whether nothing is left to be done with this generation but to remove it.
    pub fn is_over(&mut self) -> Result<bool> {
        match &mut self.settling {
            Some(settling) => Ok(settling.is_over() || self.generation.is_uninstalled()?),
            None => self.generation.is_dead(),
        }
    }

    /// Attaches what a mode needs, if it is not.
    pub fn attach_mode(&mut self, mode: Mode) -> Result<()> {
        // As long as one serves, nobody else detaches it.
        if self.generation.serves(mode)? {
            return Ok(());
        }
        let lock = Lock::take(&self.pins)?;
        self.generation.attach_mode(mode, &lock)?;
        self.look_for_ends().map(drop)
    }

    /// Detaches it. There must not be a client who uses it.
    pub fn detach_mode(&mut self, mode: Mode) -> Result<()> {
        let lock = Lock::take(&self.pins)?;
        self.generation.detach_mode(mode, &lock)
    }

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
