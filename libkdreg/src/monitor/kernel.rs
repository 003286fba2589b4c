// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel backend: `/dev/kdreg`, or a kdreg2-compatible device.

use super::backend::Backend;
use super::shared::Refusal;
use crate::errno::Errno;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

/// Devices by preference.
const DEVICES: [&str; 2] = ["/dev/kdreg", "/dev/kdreg2"];

/// Opens the first device that is there.
pub(crate) fn open() -> Result<Arc<dyn Backend>, Refusal> {
    for device in DEVICES {
        match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(device)
        {
            Ok(_) => {
                return Err(Refusal {
                    error: Errno::EOPNOTSUPP,
                    reason: format!("{device} speaks an interface this build does not know"),
                });
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Refusal {
                    error: Errno::new(error.raw_os_error().unwrap_or(libc::EIO)),
                    reason: format!("cannot open {device}: {error}"),
                });
            }
        }
    }
    Err(Refusal {
        error: Errno::ENODEV,
        reason: format!(
            "no {}: the kernel module is not loaded (modprobe kdreg)",
            DEVICES[0]
        ),
    })
}
