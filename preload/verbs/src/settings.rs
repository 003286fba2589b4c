// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the user says by environment variables.

use crate::environment::{switch, text_of};
use crate::log;
use std::sync::OnceLock;

pub struct Settings {
    /// KDREG_VERBS_DISABLE: every call goes to libibverbs.
    pub disabled: bool,
    /// KDREG_VERBS_KEEP_REMOTE: registrations that peers have keys to are kept too.
    pub keep_remote: bool,
    /// KDREG_VERBS_MAX_BYTES: the most bytes kept registered in a cache; 0: no limit.
    pub max_bytes: usize,
}

/// Read when the first device is opened. A OnceLock that is not waited for in a
/// forked child: that asks for no settings.
pub fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let quiet = log::is_quiet();
        let max_bytes = text_of(c"KDREG_VERBS_MAX_BYTES").unwrap_or("");
        let max_bytes = max_bytes.parse().unwrap_or_else(|_| {
            if !max_bytes.is_empty() && !quiet {
                log::line(format_args!(
                    "KDREG_VERBS_MAX_BYTES={max_bytes} is not a number of bytes: no limit"
                ));
            }
            0
        });
        Settings {
            disabled: switch(c"KDREG_VERBS_DISABLE"),
            keep_remote: switch(c"KDREG_VERBS_KEEP_REMOTE"),
            max_bytes,
        }
    })
}
