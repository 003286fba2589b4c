// SPDX-License-Identifier: MIT OR Apache-2.0
//! A shared entry: each thread counts on its own line, in the place that the entry
//! was lent, with plain loads and stores, while another thread ends that; and the
//! place that goes from one entry to the next (`cache::refs`, `hazard`).
//!
//! The fences of those that count are `sync::light`: no operation of the machine.
//! What is taken away with one of them is what the compiler then may do.

use super::machine::End;
use super::mutants::{Protocol, Steps};
use super::program::{Code, Place, Value, differ, held, same};

/// An entry's word: who counts times 16, and the count that is in it.
const WORD: Place = 0;
/// What the entry stands for: 0 as long as it may be used, then what the next
/// life writes there.
const FIELD: Place = 1;
/// What a user of the entry writes, for whoever has it last.
const NOTE: Place = 2;
/// What each of two threads counts.
const COUNT: [Place; 2] = [3, 4];
/// Where each of them is: at entry 1, at entry 2, or nowhere.
const INSIDE: [Place; 2] = [5, 6];
/// Which entry the place is lent to.
const LENT: Place = 7;
/// The second entry's word.
const OTHER: Place = 8;

const SHARED: Value = 16;
const CLOSING: Value = 32;
const CLOSED: Value = 48;
const RETIRED: Value = 64;

fn is_shared(word: Value, _: Value) -> Value {
    Value::from(word & !15 == SHARED)
}

/// `Refs::take_at` by the thread of a line, at the entry of this number: `taken`
/// gets whether it took a reference.
fn take(c: &mut Code, line: usize, (entry, word): (Value, Place), taken: u8, steps: &Steps) {
    let first = steps.has("enter: light fence after");
    let acquire = steps.has("take: acquire of the word");
    if first {
        c.store(INSIDE[line], entry);
        c.load_as(1, word, acquire);
    } else {
        c.load_as(1, word, acquire);
        c.store(INSIDE[line], entry);
    }
    c.load(2, COUNT[line]);
    c.compute(5, held(1), 0, is_shared);
    c.when(6, held(5), 1, differ, |c| {
        c.compute(3, held(2), 1, |count, one| count + one);
        c.store(COUNT[line], held(3));
        c.set(taken, 1);
    });
}

/// `Refs::put_at` of what was counted on the line: register 7 says whether it did.
fn put(c: &mut Code, line: usize, steps: &Steps) {
    c.store(INSIDE[line], 1);
    c.load_acquire(1, WORD);
    c.load(2, COUNT[line]);
    c.compute(5, held(1), 0, is_shared);
    c.when(6, held(5), 1, differ, |c| {
        c.compute(3, held(2), 1, |count, one| count - one);
        c.store_as(COUNT[line], held(3), steps.has("put: release of the count"));
        c.set(7, 1);
    });
    c.store_release(INSIDE[line], 0);
    // Else in the word.
    c.compute(9, held(7), 0, same);
    let release = steps.has("put: release of the word");
    c.when(6, held(9), 1, differ, |c| {
        let subtract = |found: Value, one: Value| Some(found - one);
        c.update(1, WORD, 1, subtract, (false, release));
    });
}

/// `Refs::revoke`: `close`, the heavy fence, `settle_shared` of so many lines.
fn end(c: &mut Code, lines: usize, steps: &Steps) {
    let close = |found: Value, _| (found & !15 == SHARED).then_some(found - SHARED + CLOSING);
    c.update(1, WORD, 0, close, (false, false));
    if steps.has("settle: heavy fence") {
        c.heavy();
    }
    c.set(4, 0);
    let acquire = steps.has("wait_out: acquire");
    let waits = steps.has("settle: waits for each to leave");
    for line in 0..lines {
        if waits {
            c.wait_until(2, INSIDE[line], acquire, (3, 1), same);
        }
        c.load_as(5, COUNT[line], steps.has("settle: acquire of the counts"));
        c.compute(4, held(4), held(5), |sum, count| sum + count);
    }
    let add = |found: Value, sum: Value| Some(found + sum + CLOSED - CLOSING);
    let release = steps.has("settle: release of the sum");
    c.update(5, WORD, held(4), add, (false, release));
    for &count in &COUNT[..lines] {
        c.store_as(count, 0, steps.has("settle: release of the zeroes"));
    }
    c.store_as(LENT, 0, steps.has("give back: release"));
}

/// `Refs::claim_idle`: register 0 says whether it retired the entry, register 8
/// what the last user left.
fn claim(c: &mut Code, steps: &Steps) {
    let retire = |found: Value, _| (found == CLOSED).then_some(RETIRED);
    let acquire = steps.has("retire: acquire");
    c.update(6, WORD, 0, retire, (acquire, false));
    c.when(7, held(6), CLOSED, differ, |c| {
        c.set(0, 1);
        c.store(FIELD, 1);
        c.load(8, NOTE);
    });
}

/// Two threads take references, each on its own line: none is lost, and the entry
/// is not reused under them.
#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes without optimisation")]
fn what_each_thread_counts_is_added() {
    Protocol {
        name: "two threads share and take, another ends",
        steps: &[
            "enter: light fence after",
            "take: acquire of the word",
            "leave: release",
            "settle: heavy fence",
            "settle: waits for each to leave",
            "wait_out: acquire",
            "settle: acquire of the counts",
            "settle: release of the sum",
            "settle: release of the zeroes",
            "give back: release",
            "retire: acquire",
        ],
        spare: &[
            (
                "take: acquire of the word",
                "for a place that was another entry's: see the model of that",
            ),
            (
                "settle: acquire of the counts",
                "for what was done before a put: see the next model",
            ),
            (
                "settle: release of the sum",
                "for who retires in another thread: here it is the same one",
            ),
            (
                "settle: release of the zeroes",
                "for who counts what is in use meanwhile (loom has that)",
            ),
            (
                "give back: release",
                "for who is lent the place: see the model of that",
            ),
            (
                "retire: acquire",
                "for puts that were added to the word: see the next model",
            ),
        ],
        memory: vec![SHARED, 0, 0, 0, 0, 0, 0, 1, 0],
        programs: |steps| {
            let user = |line: usize| {
                let mut c = Code::default();
                take(&mut c, line, (1, WORD), 0, steps);
                c.store_as(INSIDE[line], 0, steps.has("leave: release"));
                c.load(8, FIELD);
                c
            };
            let mut other = Code::default();
            end(&mut other, 2, steps);
            claim(&mut other, steps);
            vec![user(0), user(1), other]
        },
        wrong: |end: &End| {
            let taken: Value = end.registers[..2].iter().map(|thread| thread[0]).sum();
            let used = |thread: &[Value; 10]| thread[0] == 1 && thread[8] != 0;
            let word = end.memory[usize::from(WORD)];
            let retired = end.registers[2][0] == 1;
            end.registers[..2].iter().any(used)
                || retired != (taken == 0)
                || !retired && word != CLOSED + taken
        },
    }
    .prove();
}

/// What a thread did with the entry comes before whatever the next life writes,
/// whether it put its reference back on its line or in the word.
#[test]
fn a_use_comes_before_the_next_life() {
    Protocol {
        name: "a thread that shares uses and puts, another ends",
        steps: &[
            "put: release of the count",
            "put: release of the word",
            "settle: heavy fence",
            "settle: waits for each to leave",
            "wait_out: acquire",
            "settle: acquire of the counts",
            "settle: release of the sum",
            "settle: release of the zeroes",
            "give back: release",
            "retire: acquire",
        ],
        spare: &[
            (
                "put: release of the count",
                "`leave`, which is one, stands between, and is waited for",
            ),
            (
                "settle: acquire of the counts",
                "as the release it pairs with",
            ),
            (
                "settle: release of the sum",
                "for who retires in another thread: here it is the same one",
            ),
            (
                "settle: release of the zeroes",
                "for who counts what is in use meanwhile (loom has that)",
            ),
            (
                "give back: release",
                "for who is lent the place: see the next model",
            ),
        ],
        memory: vec![SHARED, 0, 0, 1, 0, 0, 0, 1, 0],
        programs: |steps| {
            let mut user = Code::default();
            user.load(8, FIELD);
            user.store(NOTE, 1);
            put(&mut user, 0, steps);
            let mut other = Code::default();
            end(&mut other, 1, steps);
            claim(&mut other, steps);
            vec![user, other]
        },
        wrong: |end: &End| {
            let left =
                end.memory[usize::from(WORD)] & 15 != 0 || end.memory[usize::from(COUNT[0])] != 0;
            let unread = end.registers[1][0] == 1 && end.registers[1][8] != 1;
            end.registers[0][8] != 0 || left || unread
        },
    }
    .prove();
}

/// A thread takes a reference on one entry and goes on to the next, which is lent
/// the same place meanwhile, by a third thread: what it counts there is not added
/// to what it counted here, and it is seen to have counted though it is seen at the
/// next entry already.
#[test]
fn a_place_is_empty_when_it_is_lent() {
    Protocol {
        name: "a place passes from one entry to the next",
        steps: &[
            "enter: light fence after",
            "enter: light fence before",
            "take: acquire of the word",
            "settle: heavy fence",
            "settle: waits for each to leave",
            "wait_out: acquire",
            "settle: acquire of the counts",
            "settle: release of the sum",
            "settle: release of the zeroes",
            "give back: release",
            "lend: acquire",
            "reopen: release",
        ],
        spare: &[
            (
                "settle: acquire of the counts",
                "for what was done before a put: see the model before",
            ),
            (
                "settle: release of the sum",
                "for who retires in another thread: nobody does here",
            ),
            (
                "settle: release of the zeroes",
                "`give back`, which is one, follows",
            ),
            (
                "lend: acquire",
                "what follows is a store that depends on what it found by a branch, and no store is a \
                 guess; what it found had been released. The language asks for it",
            ),
            (
                "reopen: release",
                "as the acquire before it",
            ),
        ],
        memory: vec![SHARED, 0, 0, 0, 0, 0, 0, 1, 0],
        programs: |steps| {
            let mut user = Code::default();
            take(&mut user, 0, (1, WORD), 0, steps);
            // `leave` is a store that another to the same place follows: without the
            // fence a compiler that may take it out may have the count sink below.
            if steps.has("enter: light fence before") {
                user.store_release(INSIDE[0], 0);
            }
            take(&mut user, 0, (2, OTHER), 4, steps);
            user.store_release(INSIDE[0], 0);
            let mut ender = Code::default();
            end(&mut ender, 1, steps);
            let mut lender = Code::default();
            let lend = |found: Value, _| (found == 0).then_some(2);
            lender.update(0, LENT, 0, lend, (steps.has("lend: acquire"), false));
            lender.when(1, held(0), 0, differ, |c| {
                c.store_as(OTHER, SHARED, steps.has("reopen: release"));
            });
            vec![user, ender, lender]
        },
        wrong: |end: &End| {
            let taken = (end.registers[0][0], end.registers[0][4]);
            let word = end.memory[usize::from(WORD)];
            word != CLOSED + taken.0 || end.memory[usize::from(COUNT[0])] != taken.1
        },
    }
    .prove();
}
