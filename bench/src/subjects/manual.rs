// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg's cache through its Rust API, on test backends: a check is a load
//! and a compare, as it is on the kernel backend.
//!
//! One keeps of a region what the kernel backend keeps in user space, and
//! nothing matches changes with it: a monitor that costs nothing. The other
//! has an interval tree, as userfaultfd has, so that each registration and
//! each eviction works on two trees. Hits cannot tell them apart.

use super::{Cache, Kind, Setup, Subject};
use crate::layout::Key;
use kdreg::cache::{self, Handle, Options, Registrar};
use kdreg::errno::Errno;
use kdreg::monitor::manual::Manual;
use kdreg::monitor::{Monitor, Region};
use kdreg::range::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

pub const NAME: &str = "libkdreg: no monitor (Rust)";
pub const TREE: &str = "libkdreg: monitor with a tree (Rust)";

/// A device whose registrations cost nothing, or just so much.
#[derive(Default)]
struct Device {
    // Relaxed throughout: a setting and a count, they order nothing.
    delay_ns: AtomicU64,
    registrations: AtomicU64,
}

struct Shared(Arc<Device>);

impl Registrar for Shared {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        self.0.registrations.fetch_add(1, Ordering::Relaxed);
        let ns = self.0.delay_ns.load(Ordering::Relaxed);
        if ns > 0 {
            std::thread::sleep(Duration::from_nanos(ns));
        }
        Ok(Handle(range.start()))
    }

    fn deregister(&self, _range: Range, _handle: Handle) {}
}

struct Opened {
    cache: cache::Cache,
    monitor: Monitor,
    device: Arc<Device>,
    /// The keys that are watched by themselves.
    regions: RwLock<Vec<Region>>,
}

pub fn subjects() -> [Subject; 2] {
    [
        Subject::new(NAME, Kind::Own, |setup| open(setup, false)),
        Subject::new(TREE, Kind::Variant, |setup| open(setup, true)),
    ]
}

fn say(error: Errno) -> String {
    error.to_string()
}

fn open(setup: Setup, tree: bool) -> Result<Opened, String> {
    let (_backend, monitor) = if tree {
        Manual::open()
    } else {
        Manual::open_unmatched()
    }
    .map_err(say)?;
    let device = Arc::new(Device::default());
    let options = Options {
        max_entries: setup.max_entries,
        no_merge: true,
        no_reaper: setup.no_reaper,
        ..Options::default()
    };
    let cache =
        cache::Cache::new(&monitor, options, Box::new(Shared(device.clone()))).map_err(say)?;
    Ok(Opened {
        cache,
        monitor,
        device,
        regions: RwLock::default(),
    })
}

impl Opened {
    #[inline(always)]
    fn use_one(&self, key: &Key) -> Result<(), String> {
        let range = Range::new(key.addr, key.length as usize).map_err(say)?;
        drop(self.cache.get(range, 1).map_err(say)?);
        Ok(())
    }
}

impl Cache for Opened {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        keys.iter().try_for_each(|key| self.use_one(key))
    }

    fn find(&self, keys: &[Key]) -> Result<(), String> {
        for key in keys {
            let range = Range::new(key.addr, key.length as usize).map_err(say)?;
            drop(self.cache.find(range, 1).map_err(say)?);
        }
        Ok(())
    }

    fn invalidate(&self, addr: usize, length: usize) -> Result<(), String> {
        let range = Range::new(addr, length).map_err(say)?;
        self.cache.invalidate(range).map(|_| ()).map_err(say)
    }

    fn watch(&self, keys: &[Key]) -> Result<(), String> {
        let mut regions = self.regions.write().map_err(|e| e.to_string())?;
        for region in regions.drain(..) {
            self.monitor.unmonitor(region).map_err(say)?;
        }
        for key in keys {
            let range = Range::new(key.addr, key.length as usize).map_err(say)?;
            regions.push(self.monitor.monitor(range, 0).map_err(say)?);
        }
        Ok(())
    }

    fn valid(&self, count: usize, times: usize) -> usize {
        let Ok(regions) = self.regions.read() else {
            return 0;
        };
        let (mut yes, mut left) = (0, times);
        while left > 0 {
            let now = left.min(count);
            let is_valid = |region: &&Region| self.monitor.is_valid(**region);
            yes += regions[..now].iter().filter(is_valid).count();
            left -= now;
        }
        yes
    }

    fn delay(&self, each: Duration) -> Result<(), String> {
        let ns = each.as_nanos() as u64;
        self.device.delay_ns.store(ns, Ordering::Relaxed);
        Ok(())
    }

    fn registrations(&self) -> Option<u64> {
        Some(self.device.registrations.load(Ordering::Relaxed))
    }
}
