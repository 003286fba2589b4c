// SPDX-License-Identifier: GPL-2.0-only

//! The device file: system calls in, results and error numbers out.

use crate::{abi::*, account, context::Context, dump, hold, request::Request, table::Table};
use core::{
    mem::{size_of, size_of_val, MaybeUninit},
    pin::Pin,
    slice,
};
use kernel::{
    bindings,
    error::from_result,
    ffi::{c_char, c_int, c_long, c_uint, c_ulong},
    fs::{file::flags::O_NONBLOCK, File},
    prelude::*,
    seq_file::{seq_print, SeqFile},
    transmute::{AsBytes, FromBytes},
    types::ForeignOwnable,
    uaccess::{UserPtr, UserSlice},
};

/// What `private_data` of a device file points to.
type Private = Pin<KBox<Context>>;

/// Entries of a batch that are copied at a time.
const BATCH_STEP: usize = 32;

/// No `compat_ioctl`: the interface has no 32-bit form, and without one it fails with ENOTTY.
pub(crate) static FOPS: Table<bindings::file_operations> = Table::new(bindings::file_operations {
    owner: crate::compat::this_module(),
    open: Some(open),
    release: Some(release),
    unlocked_ioctl: Some(ioctl),
    read: Some(read),
    write: Some(write),
    poll: Some(poll),
    show_fdinfo: Some(show_fdinfo),
    ..pin_init::zeroed()
});

/// The context of an open file.
///
/// # Safety
///
/// `file` is a file that [`open`] succeeded on, and stays open for `'a`.
unsafe fn context<'a>(file: *mut bindings::file) -> Pin<&'a Context> {
    // SAFETY: `open` put the pointer there and only `release` takes it away.
    unsafe { Private::borrow((*file).private_data) }
}

/// # Safety
///
/// Called by the misc core for a file that is being opened.
unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    from_result(|| {
        let context = Context::new()?;
        // No position, so pread() and pwrite() fail with ESPIPE, and a reader that sleeps blocks
        // nobody else.
        //
        // SAFETY: The file is being opened.
        kernel::error::to_result(unsafe { bindings::stream_open(inode, file) })?;
        // SAFETY: Nobody else uses the file yet. This replaces the pointer to the misc device.
        unsafe { (*file).private_data = context.into_foreign() };
        Ok(0)
    })
}

/// # Safety
///
/// Called by the kernel when the last reference to the file goes.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `open` put the pointer there, and nobody else uses the file any more.
    drop(unsafe { Private::from_foreign((*file).private_data) });
    0
}

/// # Safety
///
/// Called by the kernel for an open file.
unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
    // SAFETY: The file stays open during the call.
    let context = unsafe { context(file) };
    from_result(|| do_ioctl(&context, cmd, arg).map(|()| 0))
}

/// Reads the argument of an ioctl from user space.
fn fetch<T: FromBytes>(arg: usize) -> Result<T> {
    UserSlice::new(UserPtr::from_addr(arg), size_of::<T>())
        .reader()
        .read()
}

/// Writes the argument of an ioctl to user space.
fn store<T: AsBytes>(arg: usize, value: &T) -> Result {
    UserSlice::new(UserPtr::from_addr(arg), size_of::<T>())
        .writer()
        .write(value)
}

fn do_ioctl(context: &Context, cmd: u32, arg: usize) -> Result {
    context.check_owner()?;
    match cmd {
        KDREG2_IOCTL_CONFIG_DATA => {
            let data: Kdreg2ConfigData = fetch(arg)?;
            context.configure(data.max_regions, |status_data| {
                store(
                    arg,
                    &Kdreg2ConfigData {
                        status_data,
                        ..data
                    },
                )
            })
        }
        KDREG2_IOCTL_MONITOR => monitor(context, arg),
        KDREG2_IOCTL_UNMONITOR => {
            let data: Kdreg2IoctlUnmonitor = fetch(arg)?;
            let params = data.monitoring_params;
            context.unmonitor(data.cookie, params.location, params.generation)
        }
        KDREG2_IOCTL_UNMONITOR_ALL => {
            context.unmonitor_all();
            Ok(())
        }
        KDREG2_IOCTL_FLUSH => {
            context.flush();
            Ok(())
        }
        KDREG2_IOCTL_DUMP_STATS => {
            dump::statistics(context);
            Ok(())
        }
        KDREG_IOCTL_FEATURES => store(
            arg,
            &KdregFeatures {
                version: KDREG_FEATURES_VERSION,
                max_batch: KDREG_MAX_BATCH,
                features: KDREG_FEATURE_BATCH
                    | KDREG_FEATURE_CHANGE_MASK
                    | KDREG_FEATURE_REASON
                    | KDREG_FEATURE_SYNCHRONOUS
                    | KDREG_FEATURE_NO_OVERFLOW
                    | KDREG_FEATURE_NEEDS,
                max_regions: crate::region_cap().into(),
                changes: KDREG_CHANGE_ALL,
                default_changes: KDREG_CHANGE_DEFAULT,
                reserved: [0; 4],
            },
        ),
        KDREG_IOCTL_MONITOR_BATCH => batch(arg, |address, entries| {
            monitor_step(context, address, entries)
        }),
        KDREG_IOCTL_UNMONITOR_BATCH => batch(arg, |address, entries| {
            unmonitor_step(context, address, entries)
        }),
        _ => Err(ENOTTY),
    }
}

fn monitor(context: &Context, arg: usize) -> Result {
    let mut data: Kdreg2IoctlMonitor = fetch(arg)?;
    let addresses = context.addresses();
    let result =
        Request::new(addresses, data.addr, data.length, data.cookie, 0, 0).and_then(|request| {
            context.monitor(&request, |params| {
                store(
                    arg,
                    &Kdreg2IoctlMonitor {
                        monitoring_params: *params,
                        ..data
                    },
                )
            })
        });
    if result.is_err() {
        data.monitoring_params = Kdreg2MonitoringParams {
            location: KDREG2_LOCATION_NONE,
            ..Default::default()
        };
        // The first error is the one to report.
        let _ = store(arg, &data);
    }
    result
}

/// Runs `step(address, count)` over the entries of a batch, at most [`BATCH_STEP`] at a time, and
/// tells the caller how far it got.
fn batch(arg: usize, mut step: impl FnMut(usize, usize) -> Result<usize>) -> Result {
    let mut data: KdregBatch = fetch(arg)?;
    data.done = 0;
    let result = if data.count == 0 || data.count > KDREG_MAX_BATCH {
        Err(EINVAL)
    } else {
        let mut address = data.entries as usize;
        loop {
            let count = (data.count - data.done).min(BATCH_STEP as u32);
            if count == 0 {
                break Ok(());
            }
            match step(address, count as usize) {
                Ok(size) => address = address.wrapping_add(size),
                Err(err) => break Err(err),
            }
            data.done += count;
        }
    };
    store(arg, &data).and(result)
}

/// Room for the entries of a step, on the stack (1.5 KiB at most, in the two functions below, which
/// are kept out of line so that no other call pays for it); filled by [`fetch_entries`] and not before.
type Room<T> = [MaybeUninit<T>; BATCH_STEP];

/// Reads `count` entries, at most [`BATCH_STEP`], from `address` into `room`.
fn fetch_entries<T: FromBytes>(
    room: &mut Room<T>,
    address: usize,
    count: usize,
) -> Result<&mut [T]> {
    let room = &mut room[..count];
    let size = size_of_val(room);
    let first = room.as_mut_ptr();
    // SAFETY: The memory is that of `room`, and may be uninitialised also as bytes.
    let bytes = unsafe { slice::from_raw_parts_mut(first.cast::<MaybeUninit<u8>>(), size) };
    UserSlice::new(UserPtr::from_addr(address), size)
        .reader()
        .read_raw(bytes)?;
    // SAFETY: All bytes of these `count` entries have just been read, and by `FromBytes` any bytes
    // are a valid entry. `bytes` is not used any more.
    Ok(unsafe { slice::from_raw_parts_mut(first.cast::<T>(), count) })
}

/// Writes entries to `address` and returns their size.
fn store_entries<T: AsBytes>(entries: &[T], address: usize) -> Result<usize> {
    let size = size_of_val(entries);
    // SAFETY: By `AsBytes` all bytes of the entries are initialised, and nobody changes them.
    let bytes = unsafe { slice::from_raw_parts(entries.as_ptr().cast::<u8>(), size) };
    UserSlice::new(UserPtr::from_addr(address), size)
        .writer()
        .write_slice(bytes)?;
    Ok(size)
}

#[inline(never)]
fn monitor_step(context: &Context, address: usize, count: usize) -> Result<usize> {
    let mut room: Room<KdregMonitorEntry> = [const { MaybeUninit::uninit() }; BATCH_STEP];
    let entries = fetch_entries(&mut room, address, count)?;
    let new = context.monitor_entries(entries);
    store_entries(entries, address).inspect_err(|_| {
        // The client does not learn of these regions, so they must not be.
        for (i, entry) in entries.iter().enumerate() {
            if new & (1 << i) != 0 {
                let _ = context.unmonitor(entry.cookie, entry.location, entry.generation);
            }
        }
    })
}

#[inline(never)]
fn unmonitor_step(context: &Context, address: usize, count: usize) -> Result<usize> {
    let mut room: Room<KdregUnmonitorEntry> = [const { MaybeUninit::uninit() }; BATCH_STEP];
    let entries = fetch_entries(&mut room, address, count)?;
    context.unmonitor_entries(entries);
    store_entries(entries, address)
}

/// # Safety
///
/// Called by the kernel for an open file.
unsafe extern "C" fn read(
    file: *mut bindings::file,
    buffer: *mut c_char,
    length: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    const EVENT: usize = size_of::<Kdreg2Event>();
    // SAFETY: The file stays open during the call.
    let (context, file) = unsafe { (context(file), File::from_raw_file(file)) };
    from_result(|| {
        context.check_owner()?;
        if length == 0 {
            return Ok(0);
        }
        if length < EVENT {
            return Err(EINVAL);
        }
        let mut address = buffer as usize;
        let nonblocking = file.flags() & O_NONBLOCK != 0;
        let events = context.read(length / EVENT, nonblocking, |events| {
            let told = events
                .iter()
                .enumerate()
                .take_while(|(i, event)| store(address.wrapping_add(i * EVENT), *event).is_ok())
                .count();
            address = address.wrapping_add(told * EVENT);
            told
        })?;
        Ok((events * EVENT) as isize)
    })
}

/// There is nothing to write, and EOPNOTSUPP says so better than the EINVAL of a file without it.
///
/// # Safety
///
/// Called by the kernel for an open file.
unsafe extern "C" fn write(
    _file: *mut bindings::file,
    _buffer: *const c_char,
    _length: usize,
    _position: *mut bindings::loff_t,
) -> isize {
    crate::errno(bindings::EOPNOTSUPP).to_errno() as isize
}

/// # Safety
///
/// Called by the kernel for an open file.
unsafe extern "C" fn poll(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    const IN: u32 = bindings::POLLIN | bindings::POLLRDNORM;
    const OUT: u32 = bindings::POLLOUT | bindings::POLLWRNORM;
    // SAFETY: The file stays open during the call.
    let (context, file) = unsafe { (context(file), File::from_raw_file(file)) };
    if !context.is_owner() {
        return bindings::POLLERR | IN | OUT;
    }
    // SAFETY: This is the call, for the file whose private data the context is.
    if unsafe { context.poll(file, table) } {
        IN
    } else {
        0
    }
}

/// # Safety
///
/// Called by the kernel for an open file.
unsafe extern "C" fn show_fdinfo(seq: *mut bindings::seq_file, file: *mut bindings::file) {
    // SAFETY: The file stays open during the call, and `seq` is ours to write to.
    let (context, seq) = unsafe { (context(file), SeqFile::from_raw(seq)) };
    let s = context.statistics();
    seq_print!(seq, "kdreg-max-regions:\t{}\n", s.max);
    seq_print!(seq, "kdreg-regions:\t{}\n", s.active);
    seq_print!(seq, "kdreg-pending-events:\t{}\n", s.pending);
    seq_print!(seq, "kdreg-total-events:\t{}\n", s.total);
    seq_print!(seq, "kdreg-user-memory:\t{}\n", context.user_memory());
    seq_print!(seq, "kdreg-user-memory-limit:\t{}\n", account::limit());
    if hold::is_measuring() {
        seq_print!(seq, "kdreg-longest-hold:\t{}\n", context.longest_hold());
    }
}
