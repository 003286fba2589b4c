// SPDX-License-Identifier: MIT OR Apache-2.0
//! What waits for a cache's own thread, what it does, and who it is. All of it is
//! protected by the cache's lock.

use super::asking::{KEPT_ONLY, Terms};
use crate::background::Thread;
use crate::errno::Errno;
use crate::memory;
use crate::range::Range;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The most that wait at a time, and the most failures that are kept.
pub(super) const MOST: usize = 256;

/// How long a failure is kept for who asks again. Later it is likely to be
/// about memory that is gone.
const KEPT: Duration = Duration::from_secs(10);

/// What is to be called, once, with the entry or with why there is none.
#[derive(Clone, Copy)]
pub(crate) struct Ready {
    /// Calls `function` with `arg` and the entry.
    pub call: fn(Ready, Result<*const (), Errno>),
    pub function: usize,
    pub arg: usize,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Prefetch {
    pub range: Range,
    pub access: u32,
    pub terms: Terms,
    /// Who is told. Nobody: it is to be found, or not to be registered.
    pub ready: Option<Ready>,
    /// It failed, and only telling is left.
    pub failed: Option<Errno>,
}

impl Prefetch {
    pub fn new(range: Range, access: u32, mut terms: Terms, ready: Option<Ready>) -> Prefetch {
        if ready.is_none() {
            terms.flags |= KEPT_ONLY;
        }
        Prefetch {
            range,
            access,
            terms,
            ready,
            failed: None,
        }
    }

    /// Whether what comes of it serves the other as well.
    fn covers(&self, other: &Prefetch) -> bool {
        self.range.contains(other.range)
            && other.access & !self.access == 0
            && self.asks_as(other)
            && self.failed.is_none()
    }

    fn is_same(&self, other: &Prefetch) -> bool {
        self.range == other.range && self.access == other.access && self.asks_as(other)
    }

    fn asks_as(&self, other: &Prefetch) -> bool {
        let (own, others) = (self.terms, other.terms);
        own.arg == others.arg && own.shift == others.shift && own.no_merge() == others.no_merge()
    }
}

/// What became of a prefetch, and when.
struct Failure {
    of: Prefetch,
    error: Errno,
    at: Instant,
}

/// Room for all that may wait.
pub(super) struct Room {
    /// In the order in which they came.
    waiting: VecDeque<Prefetch>,
    /// The oldest first.
    failures: Vec<Failure>,
}

/// Room for a queue.
pub(super) fn room() -> Result<Room, Errno> {
    let mut waiting = VecDeque::new();
    // One more: what is put back was accepted once.
    let reserved = waiting.try_reserve_exact(MOST + 1);
    reserved.map_err(|_| Errno::ENOMEM)?;
    Ok(Room {
        waiting,
        failures: memory::try_vec(MOST)?,
    })
}

/// The cache's own thread.
enum Worker {
    Nobody,
    /// It is being started, by this thread.
    Expected(libc::pthread_t),
    Here(Thread),
    /// Somebody waits for its end.
    Leaving,
}

impl Worker {
    /// It is being started by the calling thread.
    fn expected() -> Worker {
        // SAFETY: takes nothing.
        Worker::Expected(unsafe { libc::pthread_self() })
    }
}

pub(super) struct Queue {
    /// `None` while nothing was ever asked for.
    room: Option<Room>,
    /// What is being done.
    doing: Option<Prefetch>,
    worker: Worker,
    /// The cache ends.
    ending: bool,
    /// So many have the thread begin nothing for the moment.
    pauses: u32,
}

/// What becomes of a prefetch that is asked for.
#[derive(PartialEq)]
pub(super) enum Joined {
    Accepted,
    /// Another one will do for it.
    Alike,
    /// An earlier one failed, which is told of now.
    Failed(Errno),
    Full,
    /// Nobody is there to do it.
    Nobody,
}

impl Queue {
    pub const NONE: Queue = Queue {
        room: None,
        doing: None,
        worker: Worker::Nobody,
        ending: false,
        pauses: 0,
    };

    /// Accepts a prefetch where it is one of its own. Who `polls` is told of an
    /// earlier one.
    pub fn join(&mut self, prefetch: &Prefetch, polls: bool) -> Joined {
        let Some(room) = &mut self.room else {
            return Joined::Nobody;
        };
        if matches!(self.worker, Worker::Nobody) {
            return Joined::Nobody;
        }
        let known = (room.failures.iter()).position(|failure| failure.of.is_same(prefetch));
        if let Some(failure) = known.map(|place| room.failures.remove(place)) {
            if polls && failure.at.elapsed() < KEPT {
                return Joined::Failed(failure.error);
            }
        }
        if prefetch.ready.is_none() {
            let mut all = room.waiting.iter().chain(&self.doing);
            if all.any(|other| other.covers(prefetch)) {
                return Joined::Alike;
            }
        }
        if room.waiting.len() >= MOST {
            return Joined::Full;
        }
        room.waiting.push_back(*prefetch);
        Joined::Accepted
    }

    /// Takes the room, if there is none yet; else it is given back. Whether the
    /// caller is to start the thread.
    pub fn prepare(&mut self, room: Room) -> (bool, Option<Room>) {
        let spare = match self.room {
            None => self.room.replace(room),
            Some(_) => Some(room),
        };
        let nobody = matches!(self.worker, Worker::Nobody);
        if nobody {
            self.worker = Worker::expected();
        }
        (nobody, spare)
    }

    /// The thread that was expected is there, or could not be started.
    pub fn expected(&mut self, thread: Option<Thread>) {
        self.worker = thread.map_or(Worker::Nobody, Worker::Here);
    }

    /// The thread that is there ends, and another is expected: it is given back,
    /// if nobody waits for its end, and the cache does not end.
    pub fn expect_another(&mut self) -> Option<Thread> {
        if self.ending {
            return None;
        }
        self.take(Worker::expected())
    }

    /// The thread, if it is there: `next` takes its place then.
    fn take(&mut self, next: Worker) -> Option<Thread> {
        match std::mem::replace(&mut self.worker, next) {
            Worker::Here(thread) => Some(thread),
            other => {
                self.worker = other;
                None
            }
        }
    }

    /// What is to be done next, and is being done from now on: one at a time, whoever
    /// does it. The thread begins when it is known to be there.
    pub fn next(&mut self, own_thread: bool) -> Option<Prefetch> {
        let rests = self.is_expecting() || self.pauses > 0;
        if self.doing.is_some() || own_thread && rests {
            return None;
        }
        self.doing = self.room.as_mut()?.waiting.pop_front();
        self.doing
    }

    /// Has the thread begin nothing, until `go_on`.
    pub fn pause(&mut self) {
        self.pauses += 1;
    }

    pub fn go_on(&mut self) {
        self.pauses -= 1;
    }

    /// Whether what is being done is only to be found: who does it puts it back.
    pub fn does_to_be_found(&self) -> bool {
        self.doing.is_some_and(|doing| doing.terms.kept_only())
    }

    /// Who waits for what is being done is being told.
    pub fn paid(&mut self) {
        if let Some(doing) = &mut self.doing {
            doing.ready = None;
        }
    }

    /// What was being done failed, and who waits for it is to be told by another
    /// thread.
    pub fn put_back(&mut self, error: Errno) {
        if let (Some(doing), Some(room)) = (self.doing.take(), &mut self.room) {
            room.waiting.push_front(Prefetch {
                failed: Some(error),
                ..doing
            });
        }
    }

    /// What was being done is done, or failed, which who asks again is told.
    pub fn finish(&mut self, failed: Option<Errno>) {
        let done = self.doing.take();
        if let (Some(of), Some(error), Some(room)) = (done, failed, &mut self.room) {
            if room.failures.len() == MOST {
                room.failures.remove(0);
            }
            room.failures.push(Failure {
                of,
                error,
                at: Instant::now(),
            });
        }
    }

    /// The thread that is there leaves what it was about to do, and all the rest,
    /// and ends: it is given back, if nobody waits for its end.
    pub fn give_up(&mut self) -> Option<Thread> {
        if let (Some(doing), Some(room)) = (self.doing.take(), &mut self.room) {
            room.waiting.push_front(doing);
        }
        self.take(Worker::Nobody)
    }

    /// How many wait, and how many are being done; `None` where nothing was ever
    /// asked for.
    pub fn outlook(&self) -> Option<(usize, usize)> {
        let room = self.room.as_ref()?;
        Some((room.waiting.len(), usize::from(self.doing.is_some())))
    }

    /// Whether anything waits, or is being done.
    pub fn is_busy(&self) -> bool {
        self.doing.is_some() || (self.room.as_ref()).is_some_and(|room| !room.waiting.is_empty())
    }

    /// Whether something waits, and nobody is there to do it.
    pub fn is_left(&self) -> bool {
        matches!(self.worker, Worker::Nobody) && self.doing.is_none() && self.is_busy()
    }

    /// Whether somebody waits to be told of something.
    pub fn owes(&self) -> bool {
        let waiting = self.room.iter().flat_map(|room| &room.waiting);
        let mut all = waiting.chain(&self.doing);
        all.any(|prefetch| prefetch.ready.is_some())
    }

    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// What waits is not done any more, and the thread ends.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// The thread, for who waits for its end.
    pub fn take_thread(&mut self) -> Option<Thread> {
        self.take(Worker::Leaving)
    }

    /// The thread has ended.
    pub fn is_gone(&mut self) {
        self.worker = Worker::Nobody;
    }

    /// Whether a thread is being started.
    pub fn is_expecting(&self) -> bool {
        matches!(self.worker, Worker::Expected(_))
    }

    /// Whether the calling thread is starting it, and has something logged.
    pub fn is_expected_here(&self) -> bool {
        // SAFETY: takes nothing.
        let here = unsafe { libc::pthread_self() };
        matches!(self.worker, Worker::Expected(by) if by == here)
    }

    /// The thread has ended for good: nothing waits any more, nor is accepted.
    pub fn empty(&mut self) -> Option<Room> {
        self.doing = None;
        self.room.take()
    }

    /// The cache is used, for the first time or on.
    pub fn begin(&mut self) {
        self.ending = false;
    }
}

#[cfg(test)]
mod tests;
