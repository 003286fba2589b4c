// SPDX-License-Identifier: MIT OR Apache-2.0
//! kernel.ftrace_enabled. While it is 0, programs are neither attached nor detached.
//!
//! Such a kernel calls none of them then, so that attaching is of no use. And what it
//! notes of a function is cleared where its last call is taken out, which has been done
//! when a program goes that is not called: some stays. The kernel takes that for a fault
//! of its own when later the last one goes of all who trace functions: it warns, and lets
//! nobody attach anything until it is booted again, live patches included
//! (`ftrace_shutdown`, `ftrace_check_record`; seen on 6.1).

use anyhow::{Error, Result};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
/// Not there either where /proc shows processes alone (`subset=pid`), though the kernel
/// has the switch, and who sees all of /proc writes to it.
const DIRECTORY: &str = "/proc/sys/kernel";

/// How long it has to be other than 0: attaching and detaching take some time, and whoever
/// has written to it may do so again.
pub const SETTLED: Duration = Duration::from_secs(1);

/// What was read of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Switch {
    On,
    Off,
    /// This kernel has none.
    Absent,
    /// Nobody knows. A kernel whose ftrace has found a fault of its own answers so
    /// (`ftrace_kill`, ENODEV), and changes no function any more: what is detached
    /// then is called still.
    Unreadable,
    /// Nobody knows whether there is one: /proc does not show such things.
    Hidden,
}

fn look() -> Switch {
    what_it_says(&read(), || Path::new(DIRECTORY).is_dir())
}

/// By a descriptor that is kept: having none to spare is not to be taken for an answer.
fn read() -> io::Result<String> {
    static HELD: OnceLock<File> = OnceLock::new();
    let file = match HELD.get() {
        Some(file) => file,
        None => {
            let opened = File::open(SWITCH)?;
            HELD.get_or_init(|| opened)
        }
    };
    let mut bytes = [0; 32];
    let count = file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// `shown`: whether the directory is there that it would be in.
fn what_it_says(read: &io::Result<String>, shown: impl FnOnce() -> bool) -> Switch {
    match read {
        Ok(text) => match text.trim().parse::<i64>() {
            Ok(0) => Switch::Off,
            // Root may have written any other.
            Ok(_) => Switch::On,
            Err(_) => Switch::Unreadable,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => match shown() {
            true => Switch::Absent,
            false => Switch::Hidden,
        },
        Err(_) => Switch::Unreadable,
    }
}

/// Whether a write to it has to be watched for: unless it is known that there is none.
pub fn is_there() -> bool {
    look() != Switch::Absent
}

/// Why programs are neither attached nor detached now, and there is no mode; `None`:
/// they may be.
pub fn against() -> Option<&'static str> {
    match look() {
        Switch::On | Switch::Absent => None,
        Switch::Off => Some("kernel.ftrace_enabled is 0: the kernel calls no program"),
        Switch::Unreadable => Some(
            "kernel.ftrace_enabled cannot be read: whether the kernel calls programs is unknown",
        ),
        Switch::Hidden => Some(
            "/proc/sys/kernel is not there (/proc mounted with subset=pid?): whether \
             kernel.ftrace_enabled is 1 cannot be told",
        ),
    }
}

/// Programs were not detached, since they must not be now.
#[derive(Debug)]
struct Forbidden(&'static str);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; and this kernel might let nobody trace functions any more, or call what is \
             gone, if programs were taken out of them now: have it be 1 before",
            self.0
        )
    }
}

impl std::error::Error for Forbidden {}

/// Before programs are detached.
pub fn permits_to_detach() -> Result<()> {
    match against() {
        Some(why) => Err(Forbidden(why).into()),
        None => Ok(()),
    }
}

/// Whether that is why something failed. The switch may be written to at any time.
pub fn forbade(error: &Error) -> bool {
    error.is::<Forbidden>()
}

/// Waiting until it is safe to attach and detach.
pub struct Settling(Instant);

impl Settling {
    /// From now on.
    pub fn begin() -> Settling {
        Settling(Instant::now())
    }

    /// Whether it is.
    pub fn is_over(&mut self) -> bool {
        if against().is_some() {
            *self = Settling::begin();
        }
        self.0.elapsed() >= SETTLED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_alone_is_off_and_what_cannot_be_read_is_not_on() {
        let says = |text: &str| what_it_says(&Ok(text.into()), || unreachable!());
        assert_eq!(says("0\n"), Switch::Off);
        // As root may have written it.
        for on in ["1\n", "2\n", "10\n", "-1\n"] {
            assert_eq!(says(on), Switch::On, "{on:?}");
        }
        for other in ["", "\n", "on\n"] {
            assert_eq!(says(other), Switch::Unreadable, "{other:?}");
        }
        let fails = |errno| {
            let error = || Err(io::Error::from_raw_os_error(errno));
            [true, false].map(|shown| what_it_says(&error(), || shown))
        };
        assert_eq!(fails(libc::ENOENT), [Switch::Absent, Switch::Hidden]);
        for errno in [libc::ENODEV, libc::EACCES, libc::EMFILE, libc::EIO] {
            assert_eq!(fails(errno), [Switch::Unreadable; 2], "{errno}");
        }
    }

    #[test]
    fn what_was_forbidden_is_known_by_its_error() {
        let forbidden = Error::from(Forbidden("why")).context("cannot detach");
        assert!(forbade(&forbidden));
        assert!(format!("{forbidden:#}").starts_with("cannot detach: why; "));
        assert!(!forbade(&Error::from(io::Error::other("why"))));
    }
}
