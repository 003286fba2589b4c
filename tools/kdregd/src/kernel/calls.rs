// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of bpf(2) that libbpf-rs has for objects of libbpf alone, and not
//! for descriptors of what was pinned.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::{mem, ptr};

/// libbpf's way to report: a negative error number.
fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::from_raw_os_error(-result))
    } else {
        Ok(result)
    }
}

/// A descriptor that a call made for us.
fn owned(result: i32) -> io::Result<OwnedFd> {
    let fd = check(result)?;
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// How a program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attachment {
    /// At the beginning of a function.
    Entry,
    /// Behind a function.
    Exit,
    /// To a tracepoint.
    Tracepoint,
}

/// Attaches a program to what it was loaded for, until the link is let go of.
pub fn attach(program: BorrowedFd<'_>, how: Attachment) -> io::Result<OwnedFd> {
    let kind = match how {
        Attachment::Entry => libbpf_sys::BPF_TRACE_FENTRY,
        Attachment::Exit => libbpf_sys::BPF_TRACE_FEXIT,
        Attachment::Tracepoint => libbpf_sys::BPF_TRACE_RAW_TP,
    };
    // SAFETY: no options; the descriptor is open.
    owned(unsafe { libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, kind, ptr::null()) })
}

/// Whether attaching failed since the same program is attached still, by a link that the
/// kernel has not let go of yet. That takes a moment after its last name has gone.
pub fn is_still_attached(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.raw_os_error() == Some(libc::EBUSY))
}

/// Runs an iterator and gives all it writes. Of tasks: those of process
/// `process` alone, unless it is 0.
pub fn iterate(program: BorrowedFd<'_>, process: u32) -> io::Result<Vec<u8>> {
    // SAFETY: plain integers, of which zeros are a value.
    let mut which: libbpf_sys::bpf_iter_link_info = unsafe { mem::zeroed() };
    which.task.pid = process;
    let mut options = libbpf_sys::bpf_link_create_opts {
        sz: size_of::<libbpf_sys::bpf_link_create_opts>() as _,
        ..Default::default()
    };
    if process != 0 {
        options.iter_info = &mut which;
        options.iter_info_len = size_of::<libbpf_sys::bpf_iter_link_info>() as u32;
    }
    // SAFETY: options and what they point to live across the call.
    let link = owned(unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), 0, libbpf_sys::BPF_TRACE_ITER, &options)
    })?;
    // SAFETY: a call with a descriptor that is open.
    let run = owned(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut File::from(run), &mut bytes)?;
    Ok(bytes)
}

/// Runs a program of type `syscall` on `context`, which it reads and writes.
///
/// # Safety
/// Of `T` any bytes are a value, and it has no padding.
pub unsafe fn run<T>(program: BorrowedFd<'_>, context: &mut T) -> io::Result<()> {
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        ctx_in: ptr::from_mut(context).cast(),
        ctx_size_in: size_of::<T>() as u32,
        ..Default::default()
    };
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes at `context`,
    // any of which are a value; all of it lives across the call.
    check(unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &mut options) })?;
    Ok(())
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Gives what a descriptor is of a name in a BPF file system.
pub fn pin(fd: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: a terminated string and an open descriptor.
    check(unsafe { libbpf_sys::bpf_obj_pin(fd.as_raw_fd(), path.as_ptr()) })?;
    Ok(())
}

/// A descriptor of what has been pinned there.
pub fn pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: a terminated string.
    owned(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })
}

/// What is known of a program.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<libbpf_sys::bpf_prog_info> {
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of::<libbpf_sys::bpf_prog_info>() as u32;
    // SAFETY: the kernel writes no more than `length` bytes; there are no
    // pointers in it that it could follow.
    check(unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &mut info, &mut length)
    })?;
    Ok(info)
}

/// The number of a map.
pub fn map_id(map: BorrowedFd<'_>) -> io::Result<u32> {
    let mut info = libbpf_sys::bpf_map_info::default();
    let mut length = size_of::<libbpf_sys::bpf_map_info>() as u32;
    // SAFETY: the kernel writes no more than `length` bytes.
    check(unsafe { libbpf_sys::bpf_map_get_info_by_fd(map.as_raw_fd(), &mut info, &mut length) })?;
    Ok(info.id)
}

/// The number of a link.
pub fn link_id(link: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: integers and pointers, of which zeros are a value.
    let mut info: libbpf_sys::bpf_link_info = unsafe { mem::zeroed() };
    let mut length = size_of::<libbpf_sys::bpf_link_info>() as u32;
    // SAFETY: the kernel writes no more than `length` bytes; the pointers in it, of
    // kinds of links that have names, are NULL.
    check(unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_raw_fd(), &mut info, &mut length)
    })?;
    Ok(info.id)
}

/// A descriptor of the program with a number. Needs CAP_SYS_ADMIN.
pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) })
}

/// A descriptor of the map with a number. Needs CAP_SYS_ADMIN.
pub fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libbpf_sys::bpf_map_get_fd_by_id(id) })
}

/// Adds to a map of maps, or fails as the kernel does: `EEXIST`, `E2BIG`.
pub fn insert_map(
    outer: BorrowedFd<'_>,
    key: u64,
    inner: BorrowedFd<'_>,
    flags: u64,
) -> io::Result<()> {
    let value = inner.as_raw_fd();
    // SAFETY: keys are 8 bytes and values a descriptor in every map of maps of
    // ours; both live across the call.
    check(unsafe {
        libbpf_sys::bpf_map_update_elem(
            outer.as_raw_fd(),
            ptr::from_ref(&key).cast(),
            ptr::from_ref(&value).cast(),
            flags,
        )
    })?;
    Ok(())
}
