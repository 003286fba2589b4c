// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a process said, as a table and as JSON.
//!
//! The process may be anybody's: whatever is not a plain word or number is
//! dropped, so that nothing it says can reach a terminal as a command.

use crate::output::{line, quoted};
use crate::process::Seen;
use std::fmt::Write as _;
use std::time::Duration;

/// A line of a status page: what it is about, and its `key=value` words.
pub struct Record {
    kind: String,
    fields: Vec<(String, String)>,
}

impl Record {
    fn parse(text: &str) -> Option<Record> {
        let plain = |word: &str| {
            !word.is_empty()
                && word.len() <= 64
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        let mut words = text.split(' ');
        let kind = words.next().filter(|kind| plain(kind))?.to_owned();
        let fields = words
            .filter_map(|word| word.split_once('='))
            .filter(|(key, value)| plain(key) && plain(value))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Record { kind, fields })
    }

    fn get(&self, key: &str) -> &str {
        let field = self.fields.iter().find(|(name, _)| name == key);
        field.map_or("", |(_, value)| value)
    }

    fn number(&self, key: &str) -> u64 {
        self.get(key).parse().unwrap_or(0)
    }

    /// Its fields as members of a JSON object, without those named.
    fn members(&self, without: &[&str]) -> String {
        let members: Vec<String> = self
            .fields
            .iter()
            .filter(|(key, _)| !without.contains(&key.as_str()))
            .map(|(key, value)| match value.parse::<u64>() {
                Ok(number) => format!("{}: {number}", quoted(key)),
                Err(_) => format!("{}: {}", quoted(key), quoted(value)),
            })
            .collect();
        members.join(", ")
    }
}

/// Everything that was found in a process.
pub struct Report {
    pid: u32,
    version: String,
    monitors: Vec<Record>,
    caches: Vec<Record>,
    entries: Vec<Record>,
    devices: Vec<Record>,
}

/// What the monitors count: [`kdreg::monitor::Reason`]'s names.
fn reasons() -> impl Iterator<Item = &'static str> {
    kdreg::monitor::Reason::ALL.into_iter().map(|r| r.name())
}

impl Report {
    pub fn of(pid: u32, seen: &Seen) -> Report {
        let mut report = Report {
            pid,
            version: String::new(),
            monitors: Vec::new(),
            caches: Vec::new(),
            entries: Vec::new(),
            devices: Vec::new(),
        };
        let mut page = 0;
        for text in &seen.texts {
            page += usize::from(!report.caches.is_empty());
            for mut record in text.lines().filter_map(Record::parse) {
                // Numbers of caches begin anew in each page.
                for (key, value) in &mut record.fields {
                    if page > 0 && ["id", "cache"].contains(&key.as_str()) {
                        *value = format!("{page}.{value}");
                    }
                }
                match record.kind.as_str() {
                    "process" => record.get("version").clone_into(&mut report.version),
                    // Caches on one monitor each tell of it.
                    "monitor" => {
                        let name = record.get("name").to_owned();
                        report.monitors.retain(|other| other.get("name") != name);
                        report.monitors.push(record);
                    }
                    "cache" => report.caches.push(record),
                    "entry" => report.entries.push(record),
                    _ => {}
                }
            }
        }
        report.devices.extend(seen.devices.iter().map(|device| {
            let mut fields = vec![("fd".to_owned(), device.fd.clone())];
            let counts = device.counts.iter();
            fields.extend(counts.map(|(name, count)| (name.clone(), count.to_string())));
            Record {
                kind: "device".into(),
                fields,
            }
        }));
        report
    }

    pub fn is_empty(&self) -> bool {
        self.caches.is_empty() && self.monitors.is_empty() && self.devices.is_empty()
    }

    /// The entries of a cache in one of its lists.
    fn list<'a>(&'a self, cache: &'a Record, list: &'a str) -> impl Iterator<Item = &'a Record> {
        self.entries
            .iter()
            .filter(move |entry| entry.get("cache") == cache.get("id") && entry.get("list") == list)
    }

    /// As tables. With an earlier report and the time since, rates too.
    pub fn table(&self, text: &mut String, before: Option<(Duration, &Report)>) {
        match self.version.as_str() {
            "" => line!(text, "process {}", self.pid),
            version => line!(text, "process {}, libkdreg {version}", self.pid),
        }
        for monitor in &self.monitors {
            let changes: Vec<String> = reasons()
                .filter(|reason| monitor.number(reason) > 0)
                .map(|reason| format!("{reason} {}", monitor.number(reason)))
                .collect();
            line!(
                text,
                "monitor {}: {} regions watched; changes seen: {}",
                monitor.get("backend"),
                monitor.get("regions"),
                if changes.is_empty() {
                    "none".into()
                } else {
                    changes.join(", ")
                }
            );
        }
        for device in &self.devices {
            line!(text, "device descriptor {}: {}", device.get("fd"), {
                let counts = device.fields.iter().skip(1);
                let words: Vec<_> = counts
                    .map(|(name, count)| format!("{} {count}", name.replace('_', " ")))
                    .collect();
                words.join(", ")
            });
        }
        for cache in &self.caches {
            text.push('\n');
            self.cache(text, cache);
            if let Some((time, earlier)) = before {
                rates(text, cache, time, earlier);
            }
            for list in ["largest", "hottest"] {
                self.entries(text, cache, list);
            }
        }
    }

    fn cache(&self, text: &mut String, cache: &Record) {
        let lookups = cache.number("hits") + cache.number("misses");
        let backend = self
            .monitors
            .iter()
            .find(|monitor| monitor.get("name") == cache.get("monitor"))
            .map_or("", |monitor| monitor.get("backend"));
        let of = |key| match cache.get(key) {
            "" => String::new(),
            limit => format!(" of {limit}"),
        };
        line!(
            text,
            "cache {}{} on {backend}: {}{} entries, {}{} bytes pinned, {} in use, {} bytes to release",
            cache.get("id"),
            match cache.get("name") {
                "" => String::new(),
                name => format!(" ({name})"),
            },
            cache.get("entries"),
            of("max_entries"),
            cache.get("bytes"),
            of("max_bytes"),
            cache.get("in_use"),
            cache.get("unreleased_bytes"),
        );
        line!(
            text,
            "  hit rate {}  hits {}  misses {}  invalidations {}  evictions {}  merges {}",
            match lookups {
                0 => "-".into(),
                _ => format!(
                    "{:.2} %",
                    100.0 * cache.number("hits") as f64 / lookups as f64
                ),
            },
            cache.get("hits"),
            cache.get("misses"),
            cache.get("invalidations"),
            cache.get("evictions"),
            cache.get("merges"),
        );
        line!(
            text,
            "  registrations {} (failed {})  deregistrations {}  uncached {}  duplicates {}",
            cache.get("registrations"),
            cache.get("register_failures"),
            cache.get("deregistrations"),
            cache.get("uncached"),
            cache.get("duplicates"),
        );
        if !cache.get("ahead_waiting").is_empty() {
            line!(
                text,
                "  ahead: {} waiting, {} being registered",
                cache.get("ahead_waiting"),
                cache.get("ahead_registering"),
            );
        }
    }

    fn entries(&self, text: &mut String, cache: &Record, list: &str) {
        for (row, entry) in self.list(cache, list).enumerate() {
            if row == 0 {
                line!(
                    text,
                    "  {:<8} {:>18} {:>14} {:>10} {:>6} {:>14}  state",
                    list,
                    "base",
                    "bytes",
                    "access",
                    "refs",
                    "last use"
                );
            }
            line!(
                text,
                "  {:<8} {:>18} {:>14} {:>10} {:>6} {:>14}  {}",
                row + 1,
                entry.get("base"),
                entry.get("bytes"),
                entry.get("access"),
                entry.get("refs"),
                entry.get("last_use"),
                entry.get("state"),
            );
        }
    }

    /// As one JSON object, on one line if asked.
    pub fn json(&self, text: &mut String, one_line: bool) {
        let object = |record: &Record| format!("{{{}}}", record.members(&["list", "cache"]));
        let array = |records: Vec<String>| format!("[{}]", records.join(", "));
        let caches = self.caches.iter().map(|cache| {
            let list = |name| array(self.list(cache, name).map(object).collect());
            format!(
                "{{{}, \"largest\": {}, \"hottest\": {}}}",
                cache.members(&[]),
                list("largest"),
                list("hottest")
            )
        });
        let parts = [
            format!("\"pid\": {}", self.pid),
            format!("\"version\": {}", quoted(&self.version)),
            format!(
                "\"monitors\": {}",
                array(self.monitors.iter().map(object).collect())
            ),
            format!(
                "\"devices\": {}",
                array(self.devices.iter().map(object).collect())
            ),
            format!("\"caches\": {}", array(caches.collect())),
        ];
        if one_line {
            line!(text, "{{{}}}", parts.join(", "));
        } else {
            line!(text, "{{\n  {}\n}}", parts.join(",\n  "));
        }
    }
}

/// What a cache did since an earlier report, a second.
fn rates(text: &mut String, cache: &Record, time: Duration, earlier: &Report) {
    let Some(then) = earlier
        .caches
        .iter()
        .find(|other| other.get("id") == cache.get("id"))
    else {
        return;
    };
    let rate = |key| {
        let change = cache.number(key).saturating_sub(then.number(key));
        change as f64 / time.as_secs_f64()
    };
    line!(
        text,
        "  a second: {:.0} hits, {:.0} misses, {:.0} registrations, {:.0} invalidations, \
         {:.0} evictions",
        rate("hits"),
        rate("misses"),
        rate("registrations"),
        rate("invalidations"),
        rate("evictions"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_what_is_not_a_plain_word() {
        let record = Record::parse("cache id=0 hits=12 x=\u{1b}[2J y=\"a bytes=0x10").unwrap();
        assert_eq!(record.get("x"), "");
        assert_eq!(record.get("y"), "");
        assert_eq!(record.number("hits"), 12);
        assert_eq!(record.get("bytes"), "0x10");
        assert!(Record::parse("\u{7}bell a=b").is_none());
    }
}
