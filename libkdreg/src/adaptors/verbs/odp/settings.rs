// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user says about on-demand paging by environment variables.

use std::ffi::CStr;
use std::fmt;

/// Which registrations are made on demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// None: all are pinned.
    Off,
    /// Those that are large, that were lost again and again, or that
    /// `RLIMIT_MEMLOCK` has no room for.
    Auto,
    /// Whatever the device can.
    On,
}

/// The transports whose operations a device must do on demand, as bits.
pub const RC: u32 = 1;
/// See [`RC`].
pub const UC: u32 = 1 << 1;
/// See [`RC`].
pub const UD: u32 = 1 << 2;

const NAMES: [(&str, u32); 3] = [("rc", RC), ("uc", UC), ("ud", UD)];

/// What the user said, or what is so when nothing was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// `KDREG_VERBS_ODP`.
    pub mode: Mode,
    /// `KDREG_VERBS_ODP_PREFETCH`: the largest range that is prefetched, in bytes.
    pub prefetch: usize,
    /// `KDREG_VERBS_ODP_TRANSPORTS`.
    pub transports: u32,
    /// `KDREG_VERBS_ODP_PAGES`: each packet is a page, so that soft-RoCE will do.
    pub pages_only: bool,
}

/// Everything is pinned.
pub const OFF: Settings = Settings {
    mode: Mode::Off,
    prefetch: 64 << 20,
    transports: RC | UD,
    pages_only: false,
};

fn transports(list: &str) -> Option<u32> {
    list.split(',').try_fold(0, |all, name| {
        let found = NAMES.iter().find(|(known, _)| *known == name)?;
        Some(all | found.1)
    })
}

impl Settings {
    /// Reads the variables through `get`. A value that is none is said by
    /// `complain`, and nothing is on demand.
    pub fn read<V: AsRef<str>>(
        get: impl Fn(&CStr) -> Option<V>,
        complain: impl Fn(fmt::Arguments<'_>),
    ) -> Settings {
        let variable = |name: &CStr| get(name).filter(|value| !value.as_ref().is_empty());
        let mode = match variable(c"KDREG_VERBS_ODP").as_ref().map(AsRef::as_ref) {
            None | Some("off") => return OFF,
            Some("auto") => Mode::Auto,
            Some("on") => Mode::On,
            Some(other) => {
                complain(format_args!(
                    "KDREG_VERBS_ODP={other} is none of off, auto and on: it is off"
                ));
                return OFF;
            }
        };
        let pages_only = variable(c"KDREG_VERBS_ODP_PAGES").is_some_and(|v| v.as_ref() == "1");
        let mut settings = Settings {
            mode,
            pages_only,
            ..OFF
        };
        if let Some(bytes) = variable(c"KDREG_VERBS_ODP_PREFETCH") {
            let bytes = bytes.as_ref();
            match bytes.parse() {
                Ok(bytes) => settings.prefetch = bytes,
                Err(_) => {
                    complain(format_args!(
                        "KDREG_VERBS_ODP_PREFETCH={bytes} is not a number of bytes: \
                         KDREG_VERBS_ODP is off"
                    ));
                    return OFF;
                }
            }
        }
        if let Some(list) = variable(c"KDREG_VERBS_ODP_TRANSPORTS") {
            let list = list.as_ref();
            match transports(list) {
                Some(bits) => settings.transports = bits,
                None => {
                    complain(format_args!(
                        "KDREG_VERBS_ODP_TRANSPORTS={list} is no list of rc, uc and ud, with \
                         commas: KDREG_VERBS_ODP is off"
                    ));
                    return OFF;
                }
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn read(values: [Option<&'static str>; 3]) -> (Settings, u32) {
        let said = Cell::new(0);
        let settings = Settings::read(
            |name| match name.to_bytes() {
                b"KDREG_VERBS_ODP" => values[0],
                b"KDREG_VERBS_ODP_PREFETCH" => values[1],
                b"KDREG_VERBS_ODP_TRANSPORTS" => values[2],
                _ => None,
            },
            |_| said.set(said.get() + 1),
        );
        (settings, said.get())
    }

    #[test]
    fn it_is_off_unless_it_is_said_otherwise() {
        for value in [None, Some(""), Some("off")] {
            assert_eq!(read([value, Some("x"), Some("x")]), (OFF, 0));
        }
        let (settings, said) = read([Some("auto"), None, None]);
        assert_eq!((settings.mode, said), (Mode::Auto, 0));
        let given = read([Some("on"), Some("4096"), Some("uc,rc")]);
        let expected = Settings {
            mode: Mode::On,
            prefetch: 4096,
            transports: RC | UC,
            pages_only: false,
        };
        assert_eq!(given, (expected, 0));
    }

    #[test]
    fn bad_values_are_said_and_turn_it_off() {
        for values in [
            [Some("yes"), None, None],
            [Some("ON"), None, None],
            [Some("on"), Some("1M"), None],
            [Some("on"), Some("-1"), None],
            [Some("on"), None, Some("rc,")],
            [Some("on"), None, Some("dc")],
        ] {
            assert_eq!(read(values), (OFF, 1), "{values:?}");
        }
    }
}
