// SPDX-License-Identifier: MIT OR Apache-2.0
//! The handler thread: reads events, marks regions.
//!
//! While it works, a thread of the application may be asleep inside munmap,
//! waiting for its event to be read, holding any lock of its own; and any other
//! may be stopped, wherever it is. So between its start and the closing of the
//! userfaultfd the handler
//! * allocates and frees nothing, logs nothing, unmaps nothing,
//! * waits for no lock: where the table's is taken it goes on reading, with the
//!   guard odd, and marks when it can (`backlog`),
//! * is never interrupted: all signals are blocked from before it starts.
//!
//! A filter of system calls may be put in place while it runs. Whatever call is
//! refused, it ends: nothing is valid any more, and the userfaultfd is closed,
//! whereby the kernel lets everybody go.

use super::abi::{EVENT_REMAP, EVENT_REMOVE, EVENT_UNMAP, Message};
use super::backlog::Backlog;
use super::claims;
use super::discards::{self, Discards};
use super::removals::Removals;
use crate::background::{self, Stack, Thread, way};
use crate::errno::Errno;
use crate::memory::Share;
use crate::monitor::in_flight::{Identity, Whose};
use crate::monitor::table::Table;
use crate::monitor::{Kind, Reason};
use crate::process;
use crate::range::{Range, page_size};
use crate::status_page::{self, ShortText, StatusPage};
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

/// What the handler shares with those who monitor.
pub(super) struct Events {
    pub table: Table,
    pub removals: Removals,
    pub discards: Discards,
}

impl Events {
    pub fn new(table: Table) -> Events {
        Events {
            table,
            removals: Removals::new(),
            discards: Discards::new(),
        }
    }
}

/// Starts the handler. It owns the userfaultfd from here on and closes it when
/// `stop` becomes readable, or when it cannot go on.
pub(super) fn start(
    userfaultfd: OwnedFd,
    stop: RawFd,
    events: Share<Events>,
) -> Result<Thread, Errno> {
    // Monitors work without it: they are only not to be seen from outside.
    let mut page = StatusPage::new().ok();
    let identity = Identity::of(userfaultfd.as_raw_fd());
    background::spawn(c"kdreg-events", Stack::Small, move || {
        let fd = userfaultfd.into_raw_fd();
        let end = run(fd, identity, stop, &events, page.as_mut());
        // Nothing is valid from here on.
        events.table.words().guard.die();
        claims::give_up(fd, &events.table.words().guard);
        process::keep_in_child(fd);
        // A descriptor that is not ours any more was closed by somebody else, and
        // its number is theirs now.
        if identity.whose(fd) != Whose::Another {
            close(fd, stop);
        }
        if end == End::Broken {
            // Takes the table's lock, and nobody waits for us any more.
            events.table.invalidate_all(Reason::Lost);
        }
    })
}

/// Closes the userfaultfd, one way or the other: while it is open, whoever
/// changes a mapping waits for us.
fn close(fd: RawFd, stop: RawFd) {
    // SAFETY: the descriptor is ours, and is not used after this: checks that
    // still hold the number fail on the dead guard.
    let closed = unsafe { libc::syscall(libc::SYS_close, fd) } == 0;
    if !closed && Errno::last().value() != libc::EINTR {
        // Refused. Another descriptor in its place ends it as well.
        // SAFETY: as above; a copy of our own eventfd takes the number.
        unsafe { libc::syscall(libc::SYS_dup3, stop, fd, libc::O_CLOEXEC) };
    }
}

/// How the handler came to its end.
#[derive(PartialEq, Eq)]
enum End {
    /// It was told to stop.
    Stopped,
    /// Events can be lost from here on.
    Broken,
}

fn run(
    fd: RawFd,
    identity: Identity,
    stop: RawFd,
    events: &Events,
    mut page: Option<&mut StatusPage>,
) -> End {
    let table = &events.table;
    let guard = &table.words().guard;
    let mut messages = [Message::default(); 16];
    let mut backlog = Backlog::new();
    let mut vain = 0;
    loop {
        way::step_off();
        let limit = if backlog.is_empty() {
            LOOK_AROUND
        } else {
            SOON
        };
        let asked = page.as_deref().map_or(-1, StatusPage::requests);
        match wait(fd, stop, asked, limit) {
            Some(Ready::Events) => {}
            Some(Ready::Nothing) => {
                if backlog.is_empty() {
                    if !identity.answers(fd) {
                        return End::Broken;
                    }
                } else if backlog.mark(table) {
                    guard.leave();
                }
                continue;
            }
            Some(Ready::Asked) => {
                page = page.filter(|page| page.take_requests());
                if let Some(page) = &mut page {
                    answer(page, table);
                }
                continue;
            }
            Some(Ready::Stop) => return End::Stopped,
            None => return End::Broken,
        }
        guard.enter();
        loop {
            // An application that closes descriptors it did not open may have
            // closed ours, and the number may be somebody's socket by now:
            // make sure before taking data from it.
            if !identity.answers(fd) {
                return End::Broken;
            }
            match read(fd, &mut messages) {
                Ok(0) => {
                    vain += 1;
                    if vain > PATIENCE {
                        return End::Broken;
                    }
                    break;
                }
                Ok(count) => {
                    vain = 0;
                    messages[..count]
                        .iter()
                        .for_each(|message| take_in(message, events, &mut backlog));
                    // All that was there: `wait` tells of what has come since.
                    if count < messages.len() {
                        break;
                    }
                }
                Err(_) => return End::Broken,
            }
        }
        if backlog.mark(table) {
            guard.leave();
        }
    }
}

/// How often in a row a call may be interrupted, or the userfaultfd be said to be
/// readable and is not (whoever waited was killed): beyond that it is a filter of
/// system calls that says so.
const PATIENCE: u32 = 1000;

enum Ready {
    Events,
    /// The time is up.
    Nothing,
    Stop,
    /// Somebody wants to know what is watched.
    Asked,
}

/// Answers who asked on the status page. The text is made on the stack, and
/// the page's memory was touched when it was made.
fn answer(page: &mut StatusPage, table: &Table) {
    let mut text = ShortText::new();
    let _ = status_page::describe_process(&mut text);
    // Where the lock is taken, who asked learns less.
    if let Some(activity) = table.try_activity() {
        let _ = activity.describe(Kind::Userfaultfd, &mut text);
    }
    page.publish(text.as_str());
}

/// How often, in milliseconds, an idle handler makes sure that its descriptor
/// is still the userfaultfd. poll(2) looks the number up again when it is
/// woken: if the application has closed the descriptor and the number is
/// another file's by now, it goes back to sleep, holding on to the userfaultfd
/// and with it to whoever waits for the event to be read.
const LOOK_AROUND: libc::c_int = 1000;

/// How long, in milliseconds, before the table's lock is tried again.
const SOON: libc::c_int = 1;

/// Sleeps until there is something to do; `None` when the userfaultfd is unwell.
fn wait(fd: RawFd, stop: RawFd, asked: RawFd, limit: libc::c_int) -> Option<Ready> {
    let mut polled = [
        libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        },
        libc::pollfd {
            fd: stop,
            events: libc::POLLIN,
            revents: 0,
        },
        // Negative: poll passes it over.
        libc::pollfd {
            fd: asked,
            events: libc::POLLIN,
            revents: 0,
        },
    ];
    for _ in 0..PATIENCE {
        // SAFETY: polls three descriptors described by a local array.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), 3, limit) };
        if ready < 0 && Errno::last().value() == libc::EINTR {
            continue;
        }
        if ready < 0 {
            return None;
        }
        if ready == 0 {
            return Some(Ready::Nothing);
        }
        if polled[0].revents & !libc::POLLIN != 0 {
            return None; // POLLERR, POLLHUP, POLLNVAL
        }
        if polled[0].revents & libc::POLLIN != 0 {
            return Some(Ready::Events);
        }
        if polled[1].revents != 0 {
            return Some(Ready::Stop);
        }
        if polled[2].revents & libc::POLLIN != 0 {
            return Some(Ready::Asked);
        }
        // The application has closed the pipe: nobody can ask any more.
        polled[2].fd = -1;
    }
    None
}

/// Reads the events that are there, without waiting; 0: none left.
fn read(fd: RawFd, messages: &mut [Message]) -> Result<usize, Errno> {
    for _ in 0..PATIENCE {
        // SAFETY: reads into a local array of plain data, no more than it holds.
        let bytes = unsafe { libc::read(fd, messages.as_mut_ptr().cast(), size_of_val(messages)) };
        if let Ok(bytes) = usize::try_from(bytes) {
            return match bytes % size_of::<Message>() {
                0 if bytes > 0 => Ok(bytes / size_of::<Message>()),
                _ => Err(Errno::EIO),
            };
        }
        match Errno::last().value() {
            libc::EAGAIN => return Ok(0),
            libc::EINTR => {}
            other => return Err(Errno::new(other)),
        }
    }
    Err(Errno::new(libc::EINTR))
}

/// Notes what one event changed, to be marked. What may have ended or moved a
/// registration, and what may still be about to take pages, is noted for those
/// who monitor first: `watch` and `discards` say why.
fn take_in(message: &Message, events: &Events, backlog: &mut Backlog) {
    let [first, second, third] = message.argument.map(|word| word as usize);
    let mut changed = |start: usize, length: usize, reason| {
        if let Ok(range) = Range::new(start, length) {
            if reason == Reason::Discard {
                events.discards.note(range, discards::now());
            } else {
                events.removals.note(range);
            }
            backlog.push(range, reason);
        }
    };
    match message.event {
        EVENT_UNMAP => changed(first, second.saturating_sub(first), Reason::Unmap),
        EVENT_REMOVE => changed(first, second.saturating_sub(first), Reason::Discard),
        EVENT_REMAP => {
            changed(first, third, Reason::Remap);
            // What was at the target has had its own event, but a region armed
            // there meanwhile may have seen either mapping.
            changed(second, third, Reason::Remap);
            // Of length 0: a second mapping of shared memory, registered as the
            // first. Nothing changed, but it is to be let go some time.
            if third == 0 {
                let page = Range::new(second, page_size());
                page.into_iter().for_each(|it| events.removals.note(it));
            }
        }
        // Nothing else was subscribed to; should a kernel send it, be safe.
        _ => backlog.push_everything(),
    }
}
