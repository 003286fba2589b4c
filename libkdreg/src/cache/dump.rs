// SPDX-License-Identifier: MIT OR Apache-2.0
//! A table of what a cache holds, for people.

use super::entries::Stamp;
use super::{Cache, Held};
use crate::errno::Errno;
use crate::thread_registry;
use crate::unwinding;
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::Ordering;

impl Cache {
    /// Writes the cache's limits, counts and entries to `out`.
    ///
    /// A snapshot of a moving thing: entries may come and go while it is
    /// written. Holds no lock and no entry while writing.
    pub fn dump(&self, out: &mut dyn Write) -> Result<(), Errno> {
        let statistics = self.statistics()?;
        self.write(out, &statistics)
            .map_err(|error| Errno::new(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    fn write(&self, out: &mut dyn Write, statistics: &super::Statistics) -> io::Result<()> {
        let inner = &self.inner;
        writeln!(
            out,
            "kdreg cache{}{} on {}: {} of {} entries, {} of {} bytes, {} in use, {} bytes unreleased",
            if self.name().is_empty() { "" } else { " " },
            self.name(),
            inner.monitor.kind(),
            statistics.entries,
            Limit(inner.options.max_entries),
            statistics.bytes,
            Limit(inner.options.max_bytes),
            statistics.in_use,
            statistics.unreleased_bytes,
        )?;
        writeln!(
            out,
            "  hits {}  misses {}  registrations {} (failed {})  deregistrations {}  \
             merges {}  evictions {}  invalidations {}  uncached {}  duplicates {}",
            statistics.hits,
            statistics.misses,
            statistics.registrations,
            statistics.register_failures,
            statistics.deregistrations,
            statistics.merges,
            statistics.evictions,
            statistics.invalidations,
            statistics.uncached,
            statistics.duplicates,
        )?;
        let ahead = inner.state.lock().ahead.outlook();
        if let Some((waiting, doing)) = ahead {
            writeln!(out, "  ahead: {waiting} waiting, {doing} being registered")?;
        }
        writeln!(
            out,
            "  {:>18} {:>14} {:>10} {:>18} {:>6} {:>12}  state",
            "base", "bytes", "access", "handle", "refs", "last use"
        )?;
        let used = inner.state.lock().used_slots();
        for index in 0..used {
            let entry = inner.entries.at(index);
            let live = entry.refs.is_live();
            if !live && !entry.refs.in_use(thread_registry::owners()) {
                continue;
            }
            let state = match (live, entry.has_changed()) {
                (true, false) => "valid",
                (true, true) => "changed",
                (false, _) => "detached",
            };
            let Some(range) = entry.range_if_any() else {
                continue;
            };
            write!(
                out,
                "  {:>#18x} {:>14} {:>#10x} {:>#18x} {:>6} {:>12}  {state}",
                range.start(),
                range.len(),
                entry.access(),
                entry.handle(),
                entry.refs.count(thread_registry::owners()),
                Stamp::clock(entry.stamp.load(Ordering::Relaxed)),
            )?;
            self.describe(out, index)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl Cache {
    /// Appends what the registrar has to say of an entry that can be found.
    fn describe(&self, out: &mut dyn Write, index: u32) -> io::Result<()> {
        let entry = self.inner.entries.at(index);
        if !entry.refs.is_live() || unwinding::is_held() {
            return Ok(());
        }
        if let Err(put) = entry.refs.take() {
            self.inner.after_unused(entry, put);
            return Ok(());
        }
        let held = Held {
            inner: &self.inner,
            entry,
        };
        let mut text = [0; 128];
        let length = (self.inner).call(|| self.inner.registrar.describe(&held, &mut text));
        // Before it is written, for which a reader of a pipe may take its time: a drain
        // would wait for that, and a destruction be refused.
        drop(held);
        let text = text.get(..length).unwrap_or_default();
        if !text.is_empty() {
            out.write_all(b"  ")?;
        }
        out.write_all(text)
    }
}

/// A number of things or bytes at most.
struct Limit(usize);

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            usize::MAX => f.write_str("unlimited"),
            value => value.fmt(f),
        }
    }
}
