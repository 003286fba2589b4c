// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log of the bpf backend (`monitor::bpf::{changes, marks}`, bpf/log.h): BPF
//! programs write it, whoever looks reads it.

use super::machine::End;
use super::mutants::{Protocol, Steps};
use super::program::{Address, Change, Code, Register, Source, Value, differ, held, same};

/// Entries ever begun, ever finished, and ever applied.
const TAIL: u8 = 0;
const DONE: u8 = 1;
const APPLIED: u8 = 2;
/// The log's only entry.
const SEQUENCE: u8 = 3;
const CHANGE: u8 = 4;
/// Nothing, and then the state words that changes 1, 2 and 3 are about.
const WORDS: u8 = 5;
/// The call that made change 1 has returned.
const RETURNED: u8 = 9;

fn add(found: Value, operand: Value) -> Option<Value> {
    Some(found + operand)
}

fn exchange(_found: Value, operand: Value) -> Option<Value> {
    Some(operand)
}

/// An atomic of BPF's that gives what it found: a full barrier on both of its
/// sides, as the kernel's own are (its compiler for arm64 makes them so, with
/// LSE and without). One that only acquired and released would not do for the
/// sequence: the payload could come before it.
fn full(c: &mut Code, into: Register, at: u8, operand: impl Into<Source>, change: Change) {
    c.fence();
    c.update(into, at, operand, change, (false, false));
    c.fence();
}

/// `log_change`.
fn write(change: Value, steps: &Steps) -> Code {
    let mut c = Code::default();
    full(&mut c, 0, TAIL, 1, add);
    c.compute(2, held(0), 0, |n, _| 2 * n + 2);
    c.store(CHANGE, change);
    if steps.has("write: finished is an exchange") {
        full(&mut c, 3, SEQUENCE, held(2), exchange);
    } else {
        c.store(SEQUENCE, held(2));
    }
    full(&mut c, 3, DONE, 1, add);
    c
}

/// Marks the word of the change that a register holds.
fn mark(c: &mut Code, change: Register) {
    let plus = held(change);
    c.store(Address { place: WORDS, plus }, 1);
}

/// `Marks::catch_up` of a log with one entry, in two steps at most; register 0
/// is how far it came.
fn catch_up(steps: &Steps) -> Code {
    const COUNT: Register = 9;
    const TEST: Register = 7;
    const TAKEN: Register = 8;
    let mut c = Code::default();
    let acquire = steps.has("read: acquire of the tail");
    let before = steps.has("read: acquire of the sequence");
    let fence = steps.has("read: fence before it does");
    let again = steps.has("read: looks at the tail again");
    let checks = steps.has("read: goes on only when all are finished");
    let release = steps.has("read: release of how far");
    for _ in 0..2 {
        c.load_as(1, TAIL, acquire);
        c.compute(2, held(1), held(0), |tail, applied| tail - applied);
        // 0: nothing new, 1: an entry, 2: overtaken.
        c.when(TEST, held(2), 0, same, |c| {
            c.load_as(3, SEQUENCE, before);
            c.load(4, CHANGE);
            if fence {
                c.fence_loads();
            }
            if again {
                c.load(5, TAIL);
            } else {
                c.set(5, held(1));
            }
            // 1: taken, 0: unfinished, above: to be given up.
            c.compute(TAKEN, held(3), held(0), |sequence, applied| {
                (sequence - (2 * applied + 2)).signum() + 1
            });
            // Finished, and another lap has begun since.
            c.compute(5, held(5), held(0), |tail, applied| {
                Value::from(tail - applied > 1)
            });
            c.compute(TAKEN, held(TAKEN), held(5), |taken, lapped| {
                taken + taken * lapped
            });
            c.compute(
                TAKEN,
                held(TAKEN),
                held(2),
                |taken, new| {
                    if new > 1 { 2 } else { taken }
                },
            );
            c.when(TEST, held(TAKEN), 1, differ, |c| {
                mark(c, 4);
                c.compute(0, held(0), 1, |applied, one| applied + one);
                c.store_as(APPLIED, held(0), release);
            });
            c.when(
                TEST,
                held(TAKEN),
                2,
                |taken, two| Value::from(taken < two),
                |c| {
                    if checks {
                        c.load_acquire(6, DONE);
                        c.load_acquire(1, TAIL);
                    } else {
                        c.set(6, held(1));
                    }
                    c.when(TEST, held(6), held(1), differ, |c| {
                        c.store(WORDS + 1, 1);
                        c.store(WORDS + 2, 1);
                        // What comes later is about what is registered later.
                        c.when(TEST, held(1), 3, differ, |c| c.store(WORDS + 3, 1));
                        c.set(0, held(1));
                        c.store_as(APPLIED, held(0), release);
                    });
                },
            );
        });
    }
    c.set(COUNT, 0);
    c
}

const READ: [&str; 7] = [
    "write: finished is an exchange",
    "read: acquire of the tail",
    "read: acquire of the sequence",
    "read: fence before it does",
    "read: looks at the tail again",
    "read: goes on only when all are finished",
    "read: release of how far",
];

/// Two changes at once, in a log with room for one: whatever the reader takes
/// for applied has been marked.
#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn what_is_applied_was_marked() {
    Protocol {
        name: "two writers and a reader",
        steps: &READ,
        spare: &[
            (
                "read: acquire of the tail",
                "that of the sequence is what the payload waits for; `done` is acquired, too",
            ),
            (
                "read: goes on only when all are finished",
                "for who is held up for a whole lap: see the next model",
            ),
            (
                "read: release of how far",
                "for who looks up meanwhile: see the model of a lookup",
            ),
        ],
        memory: vec![0; 10],
        programs: |steps| vec![write(1, steps), write(2, steps), catch_up(steps)],
        wrong: |end: &End| {
            let memory = |place: u8| end.memory[usize::from(place)];
            memory(APPLIED) == 2 && (memory(WORDS + 1) == 0 || memory(WORDS + 2) == 0)
        },
    }
    .prove();
}

const BEFORE: &str = "as in the model before this one";

/// A writer is held up until others have written a lap and more: its payload is
/// not taken for theirs.
#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn who_is_held_up_is_waited_for() {
    Protocol {
        name: "a writer held up, another that laps it, and a reader",
        steps: &READ,
        spare: &[
            ("read: acquire of the tail", BEFORE),
            ("read: release of how far", BEFORE),
        ],
        // Entry 0 has been begun.
        memory: vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        programs: |steps| {
            let mut held_up = Code::default();
            held_up.store(CHANGE, 1);
            full(&mut held_up, 3, SEQUENCE, 2, exchange);
            full(&mut held_up, 3, DONE, 1, add);
            let mut laps = write(2, steps);
            laps.append(write(3, steps));
            vec![held_up, laps, catch_up(steps)]
        },
        wrong: |end: &End| {
            let unmarked = |change: u8| end.memory[usize::from(WORDS + change)] == 0;
            let applied = end.memory[usize::from(APPLIED)];
            applied >= 1 && unmarked(1) || applied == 3 && (unmarked(2) || unmarked(3))
        },
    }
    .prove();
}

/// A thread that knows that the changing call has returned looks up, while
/// another applies what was logged.
#[test]
fn a_change_that_returned_is_not_valid() {
    Protocol {
        name: "a writer, a reader and a lookup",
        steps: &[
            "read: release of how far",
            "look: acquire of how far",
            "look: acquire of the tail",
            "look: the word comes last",
            "write: before the call returns",
        ],
        spare: &[(
            "look: acquire of the tail",
            "a later tail says more; the same load serves who reads the log",
        )],
        memory: vec![0; 10],
        programs: |steps| {
            let mut writer = Code::default();
            let in_time = steps.has("write: before the call returns");
            if !in_time {
                writer.store_release(RETURNED, 1);
            }
            full(&mut writer, 0, TAIL, 1, add);
            writer.store(CHANGE, 1);
            full(&mut writer, 3, SEQUENCE, 2, exchange);
            if in_time {
                writer.store_release(RETURNED, 1);
            }
            let mut reader = Code::default();
            reader.load_acquire(1, TAIL);
            reader.load_acquire(3, SEQUENCE);
            reader.load(4, CHANGE);
            reader.compute(1, held(1), 1, same);
            reader.compute(3, held(3), 2, same);
            reader.compute(1, held(1), held(3), |a, b| a & b);
            reader.when(7, held(1), 1, differ, |c| {
                mark(c, 4);
                c.store_as(APPLIED, 1, steps.has("read: release of how far"));
            });
            let mut lookup = Code::default();
            lookup.load_acquire(0, RETURNED);
            let last = steps.has("look: the word comes last");
            if !last {
                lookup.load_acquire(3, WORDS + 1);
            }
            lookup.load_as(1, APPLIED, steps.has("look: acquire of how far"));
            lookup.load_as(2, TAIL, steps.has("look: acquire of the tail"));
            if last {
                lookup.load_acquire(3, WORDS + 1);
            }
            lookup.compute(5, held(1), held(2), same);
            lookup.compute(6, held(3), 0, same);
            lookup.compute(4, held(5), held(6), |current, unchanged| {
                current & unchanged
            });
            vec![writer, reader, lookup]
        },
        wrong: |end: &End| end.registers[2][0] == 1 && end.registers[2][4] == 1,
    }
    .prove();
}
