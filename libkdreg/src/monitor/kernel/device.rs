// SPDX-License-Identifier: MIT OR Apache-2.0
//! One descriptor of `/dev/kdreg`, or of a kdreg2-compatible device: the
//! system calls and the status page.

use crate::errno::Errno;
use crate::monitor::Needs;
use crate::monitor::refusal::Refusal;
use crate::range::Range;
use crate::uapi::{self, Kdreg2Event, KdregBatch, KdregFeatures, KdregMonitorEntry};
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An open and configured device.
pub(super) struct Device {
    fd: OwnedFd,
    /// Base of the state words, mapped read-only for the life of the process.
    words: *const AtomicU32,
    slots: u64,
    /// What goes beyond kdreg2; `None`: a plain kdreg2 device.
    pub features: Option<KdregFeatures>,
}

// SAFETY: the words are atomics that the kernel writes; the pointer is not
// tied to a thread.
unsafe impl Send for Device {}
// SAFETY: as above; every system call on the descriptor is thread-safe.
unsafe impl Sync for Device {}

/// What the kernel calls a monitored region.
#[derive(Clone, Copy, Default)]
pub(super) struct Name {
    pub cookie: u64,
    pub location: u64,
    pub generation: u32,
}

impl Name {
    /// What became of an entry.
    pub fn of(entry: &KdregMonitorEntry) -> Result<Name, Errno> {
        if entry.status != 0 {
            return Err(Errno::new(-entry.status));
        }
        Ok(Name {
            cookie: entry.cookie,
            location: entry.location,
            generation: entry.generation,
        })
    }
}

impl Device {
    /// Opens the first device that is there, with room for `slots` regions, or
    /// as near to it as the device grants.
    pub fn open(slots: u32) -> Result<Device, Refusal> {
        let mut device = None;
        for (path, seen) in [uapi::KDREG_DEVICE_NAME, uapi::KDREG2_DEVICE_NAME]
            .into_iter()
            .zip(&DEVICES)
        {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK)
                .open(path);
            match opened {
                Ok(file) => {
                    let number = device_number(file.as_raw_fd()).unwrap_or(0);
                    seen.store(number, Ordering::Relaxed);
                    device = Some((path, OwnedFd::from(file)));
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    let error = Errno::new(error.raw_os_error().unwrap_or(libc::EIO));
                    return Err(Refusal::new(
                        error,
                        format_args!("cannot open {path}: {error}"),
                    ));
                }
            }
        }
        let Some((path, fd)) = device else {
            return Err(Refusal::new(
                Errno::ENODEV,
                format_args!(
                    "no {}: the kernel module is not loaded (modprobe kdreg)",
                    uapi::KDREG_DEVICE_NAME
                ),
            ));
        };
        let mut features = KdregFeatures::default();
        let features = control(&fd, uapi::KDREG_IOCTL_FEATURES, &mut features)
            .is_ok()
            .then_some(features);
        let slots = configure(&fd, u64::from(slots), features).map_err(|error| {
            Refusal::new(
                error,
                format_args!("{path} does not take a configuration: {error}"),
            )
        })?;
        let (status, slots) = slots;
        // SAFETY: CONFIG_DATA returned the address of a status page that it
        // mapped for us; it stays mapped, as nobody unmaps it.
        let words = unsafe { (*status).monitoring_state_base } as *const AtomicU32;
        Ok(Device {
            fd,
            words,
            slots,
            features,
        })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// The state word of a location.
    pub fn word(&self, location: u64) -> Option<&'static AtomicU32> {
        // SAFETY: one of `slots` words that stay mapped for the life of the
        // process (devices are kept when they are not used, see `idle`).
        (location < self.slots).then(|| unsafe { &*self.words.add(location as usize) })
    }

    /// The location whose state word is at an address.
    pub fn location(&self, word: usize) -> Option<u64> {
        let offset = word.checked_sub(self.words as usize)?;
        let location = (offset / size_of::<u32>()) as u64;
        (offset % size_of::<u32>() == 0 && location < self.slots).then_some(location)
    }

    /// Begins to monitor. A device that does not know of needs takes any change
    /// of protection for one that counts.
    pub fn monitor(&self, range: Range, cookie: u64, needs: Needs) -> Result<Name, Errno> {
        if self.monitors_many() {
            let mut entry = self.entry(range, cookie, needs);
            self.monitor_all(std::slice::from_mut(&mut entry));
            return Name::of(&entry);
        }
        let mut argument = uapi::Kdreg2IoctlMonitor {
            addr: range.start() as u64,
            length: range.len() as u64,
            cookie,
            ..uapi::Kdreg2IoctlMonitor::default()
        };
        control(&self.fd, uapi::KDREG2_IOCTL_MONITOR, &mut argument)?;
        let params = argument.monitoring_params;
        Ok(Name {
            cookie,
            location: params.location,
            generation: params.generation,
        })
    }

    /// Whether the device takes many at once.
    pub fn monitors_many(&self) -> bool {
        self.features
            .is_some_and(|f| f.features & uapi::KDREG_FEATURE_BATCH != 0)
    }

    /// What `monitor_all` is asked for.
    pub fn entry(&self, range: Range, cookie: u64, needs: Needs) -> KdregMonitorEntry {
        KdregMonitorEntry {
            addr: range.start() as u64,
            length: range.len() as u64,
            cookie,
            flags: uapi::KDREG_MONITOR_REASON | self.needs_flag(needs),
            ..KdregMonitorEntry::default()
        }
    }

    /// Begins to monitor each: [`Name::of`] says what comes of it. Where the device
    /// `monitors_many`.
    pub fn monitor_all(&self, entries: &mut [KdregMonitorEntry]) {
        let most = self.features.map_or(1, |f| f.max_batch.max(1));
        for part in entries.chunks_mut(most as usize) {
            let mut batch = KdregBatch {
                entries: part.as_mut_ptr() as u64,
                count: part.len() as u32,
                done: 0,
            };
            if let Err(error) = control(&self.fd, uapi::KDREG_IOCTL_MONITOR_BATCH, &mut batch) {
                // Those before have an answer each.
                for entry in part.iter_mut().skip(batch.done as usize) {
                    entry.status = -error.value();
                }
            }
        }
    }

    /// How the device is told, if it can be.
    fn needs_flag(&self, needs: Needs) -> u32 {
        if self
            .features
            .is_none_or(|f| f.features & uapi::KDREG_FEATURE_NEEDS == 0)
        {
            return 0;
        }
        match needs {
            Needs::Read => uapi::KDREG_MONITOR_NEEDS_READ,
            Needs::Write => uapi::KDREG_MONITOR_NEEDS_WRITE,
        }
    }

    /// Ends a monitoring. That it has ended already is no error.
    pub fn unmonitor(&self, name: Name) {
        let mut argument = uapi::Kdreg2IoctlUnmonitor {
            cookie: name.cookie,
            monitoring_params: uapi::Kdreg2MonitoringParams {
                location: name.location,
                generation: name.generation,
                reserved: 0,
            },
        };
        let _ = control(&self.fd, uapi::KDREG2_IOCTL_UNMONITOR, &mut argument);
    }

    /// Ends every monitoring and discards the events.
    pub fn clear(&self) -> Result<(), Errno> {
        control(&self.fd, uapi::KDREG2_IOCTL_UNMONITOR_ALL, &mut [0u8; 0])?;
        control(&self.fd, uapi::KDREG2_IOCTL_FLUSH, &mut [0u8; 0])
    }

    /// Reads events, without waiting; returns how many.
    pub fn read(&self, events: &mut [Kdreg2Event]) -> usize {
        // An application that closes descriptors it did not open may have
        // closed ours: do not take data from what has its number now.
        if !is_device(self.fd()) {
            return 0;
        }
        // By its number: the C library's read() is a cancellation point.
        // SAFETY: reads into a slice of plain data, no more than it holds.
        let bytes = unsafe {
            libc::syscall(
                libc::SYS_read,
                self.fd(),
                events.as_mut_ptr(),
                size_of_val(events),
            )
        };
        usize::try_from(bytes).unwrap_or(0) / size_of::<Kdreg2Event>()
    }
}

/// Whether a descriptor is one of the devices that this process opened.
/// Async-signal-safe.
pub(super) fn is_device(fd: RawFd) -> bool {
    device_number(fd)
        .is_some_and(|number| DEVICES.iter().any(|d| d.load(Ordering::Relaxed) == number))
}

/// The device numbers seen, by place in the list of paths; 0: not yet.
static DEVICES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// The device number behind a descriptor. Async-signal-safe.
fn device_number(fd: RawFd) -> Option<u64> {
    // SAFETY: fstat fills a local structure of plain data.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        (libc::fstat(fd, &raw mut status) == 0).then_some(status.st_rdev)
    }
}

/// Configures the device; returns the status page and the number of slots.
fn configure(
    fd: &OwnedFd,
    wanted: u64,
    features: Option<KdregFeatures>,
) -> Result<(*const uapi::Kdreg2StatusData, u64), Errno> {
    let mut slots = features
        .map_or(wanted, |f| wanted.min(f.max_regions))
        .max(1);
    loop {
        let mut argument = uapi::Kdreg2ConfigData {
            max_regions: slots,
            status_data: 0,
        };
        match control(fd, uapi::KDREG2_IOCTL_CONFIG_DATA, &mut argument) {
            Ok(()) => return Ok((argument.status_data as *const _, slots)),
            // A signal came while the notifier was being registered.
            Err(error) if error.value() == libc::EINTR => {}
            // Less is better than nothing.
            Err(error) if (error == Errno::ENOSPC || error == Errno::ENOMEM) && slots > 4096 => {
                slots /= 2;
            }
            Err(error) => return Err(error),
        }
    }
}

fn control<T>(fd: &OwnedFd, request: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: every caller pairs a request with the structure whose size is
    // part of it; the kernel reads and writes just that.
    let failed =
        unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) } != 0;
    if failed { Err(Errno::last()) } else { Ok(()) }
}
