// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is measured: registration caches behind one face, and the floors that
//! no cache can be below.

pub mod floors;
pub mod manual;
pub mod plugin;
pub mod textbook;

use crate::layout::Key;
use crate::options::Options;
use std::sync::Arc;
use std::time::Duration;

/// Who the hits are compared with, if it is here.
pub const PEER: &str = "UCX: ucs_rcache";

/// How a cache is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub max_entries: usize,
    /// Releasing is left to calls of the cache, where there is a choice.
    pub no_reaper: bool,
}

impl Setup {
    pub fn holding(max_entries: usize) -> Setup {
        Setup {
            max_entries,
            no_reaper: false,
        }
    }
}

/// A cache that is not open yet.
#[derive(Clone)]
pub struct Subject {
    pub name: String,
    pub kind: Kind,
    open: Arc<Opener>,
}

type Opener = dyn Fn(Setup) -> Result<Box<dyn Cache>, String> + Send + Sync;

/// What a subject is there for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// libkdreg.
    Own,
    /// A floor: no cache, part of what one must do.
    Floor,
    /// A check of regions alone.
    Check,
    /// Something to compare with.
    Other,
    /// libkdreg once more, where it makes a difference.
    Variant,
}

impl Subject {
    pub fn new<C: Cache + 'static>(
        name: impl Into<String>,
        kind: Kind,
        open: impl Fn(Setup) -> Result<C, String> + Send + Sync + 'static,
    ) -> Subject {
        Subject {
            name: name.into(),
            kind,
            open: Arc::new(move |setup| Ok(Box::new(open(setup)?))),
        }
    }

    pub fn open(&self, setup: Setup) -> Result<Box<dyn Cache>, String> {
        (self.open)(setup)
    }
}

/// What "this library has no such thing" is said by.
pub const NO_SUCH_THING: &str = "no such operation";

/// An open cache. All callable from several threads at once.
pub trait Cache: Send + Sync {
    /// Gets and puts each key; what is not cached is registered.
    fn hit(&self, keys: &[Key]) -> Result<(), String>;

    /// Finds and puts each key; never registers.
    fn find(&self, _keys: &[Key]) -> Result<(), String> {
        Err(NO_SUCH_THING.into())
    }

    /// Tells the cache that a range is gone.
    fn invalidate(&self, _addr: usize, _length: usize) -> Result<(), String> {
        Err(NO_SUCH_THING.into())
    }

    /// Watches each key by itself.
    fn watch(&self, _keys: &[Key]) -> Result<(), String> {
        Err(NO_SUCH_THING.into())
    }

    /// Checks `count` watched keys in turn, `times` times in all; how many
    /// answers were "valid".
    fn valid(&self, _count: usize, _times: usize) -> usize {
        0
    }

    /// From now on each registration takes this long.
    fn delay(&self, _each: Duration) -> Result<(), String> {
        Err(NO_SUCH_THING.into())
    }

    /// How many registrations were made, where that is known.
    fn registrations(&self) -> Option<u64> {
        None
    }
}

/// Everything that can be opened here, and why the rest cannot.
pub struct Field {
    pub subjects: Vec<Subject>,
    pub absent: Vec<(String, String)>,
    /// The libraries of others, with their versions.
    pub libraries: Vec<String>,
}

impl Field {
    /// Opens each once to see whether it works.
    pub fn survey(options: &Options) -> Field {
        let mut candidates = Vec::new();
        let mut absent = Vec::new();
        let mut libraries = Vec::new();
        plugin::find(
            &options.plugins,
            &mut candidates,
            &mut absent,
            &mut libraries,
        );
        candidates.extend(manual::subjects());
        candidates.push(textbook::subject());
        let others = |subject: &Subject| !matches!(subject.kind, Kind::Own | Kind::Variant);
        candidates.sort_by_key(others);
        candidates.extend(floors::subjects());
        let mut subjects = Vec::new();
        for subject in candidates {
            if !options.wants(&subject.name) {
                continue;
            }
            match subject.open(Setup::holding(16)) {
                Ok(_) => subjects.push(subject),
                Err(why) => absent.push((subject.name, why)),
            }
        }
        Field {
            subjects,
            absent,
            libraries,
        }
    }

    /// Those that are caches.
    pub fn caches(&self) -> Vec<Subject> {
        let caches = |s: &&Subject| matches!(s.kind, Kind::Own | Kind::Other);
        self.subjects.iter().filter(caches).cloned().collect()
    }

    /// The same, variants included.
    pub fn caches_and_variants(&self) -> Vec<Subject> {
        let caches = |s: &&Subject| !matches!(s.kind, Kind::Floor | Kind::Check);
        self.subjects.iter().filter(caches).cloned().collect()
    }
}
