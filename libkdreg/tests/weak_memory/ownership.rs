// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry's owner counts with plain loads and stores while another thread ends
//! that, and with it the entry (`cache::refs`, `hazard`).

use super::machine::End;
use super::mutants::{Protocol, Steps};
use super::program::{Code, Value, differ, held, same};

/// The entry's word: who owns it times 16, and its count.
const WORD: u8 = 0;
/// What the owner counts.
const OWN: u8 = 1;
/// Where the owner is: at the entry, or not.
const INSIDE: u8 = 2;
/// What the entry stands for: 0 as long as it may be used, then what the next
/// life writes there.
const FIELD: u8 = 3;
/// What a user of the entry writes, for whoever has it last.
const NOTE: u8 = 4;

const OWNED: Value = 16;
const CLOSED: Value = 32;
const RETIRED: Value = 64;

/// `Refs::take_at` by the owner: register 0 says whether it took one.
fn take(c: &mut Code, steps: &Steps) {
    // A light fence is no operation of the machine: without it, the compiler may
    // have the second look come first.
    let acquire = steps.has("take: acquire of the word");
    if steps.has("enter: light fence") {
        c.store(INSIDE, 1);
        c.load_as(1, WORD, acquire);
    } else {
        c.load_as(1, WORD, acquire);
        c.store(INSIDE, 1);
    }
    c.load(2, OWN);
    c.compute(5, held(1), 0, |word, _| Value::from(word & !15 == OWNED));
    c.when(6, held(5), 1, differ, |c| {
        c.compute(3, held(2), 1, |count, one| count + one);
        c.store(OWN, held(3));
        c.set(0, 1);
    });
    c.store_as(INSIDE, 0, steps.has("leave: release"));
}

/// `Refs::put_at` by the owner; register 7 says whether it did. `leaves`: `leave` is
/// a release, as it is.
fn put(c: &mut Code, leaves: bool, steps: &Steps) {
    c.store(INSIDE, 1);
    c.load_acquire(1, WORD);
    c.load(2, OWN);
    c.compute(5, held(1), 0, |word, _| Value::from(word & !15 == OWNED));
    c.when(6, held(5), 1, differ, |c| {
        c.compute(3, held(2), 1, |count, one| count - one);
        c.store_as(OWN, held(3), steps.has("put: release of the count"));
        c.set(7, 1);
    });
    c.store_as(INSIDE, 0, leaves);
}

/// `Refs::revoke`, then `claim_idle`; register 0 says whether it retired the
/// entry.
fn end(c: &mut Code, steps: &Steps) {
    let close = |found: Value, _| (found & !15 == OWNED).then_some(found - OWNED + CLOSED);
    c.update(1, WORD, 0, close, (false, false));
    if steps.has("settle: heavy fence") {
        c.heavy();
    }
    if steps.has("settle: waits for the owner to leave") {
        let acquire = steps.has("wait_out: acquire");
        c.wait_until(2, INSIDE, acquire, (3, 0), differ);
    } else {
        steps.has("wait_out: acquire");
    }
    c.load_as(4, OWN, steps.has("settle: acquire of the count"));
    let add = |found: Value, own: Value| Some(found + own);
    let release = steps.has("settle: release of the sum");
    c.update(5, WORD, held(4), add, (false, release));
    c.store_release(OWN, 0);
    let retire = |found: Value, _| (found == CLOSED).then_some(RETIRED);
    let acquire = steps.has("retire: acquire");
    c.update(6, WORD, 0, retire, (acquire, false));
    c.when(7, held(6), CLOSED, differ, |c| {
        c.set(0, 1);
        c.store(FIELD, 1);
        c.load(8, NOTE);
    });
}

/// The owner takes a reference and uses the entry; it is not lost, and the entry
/// is not reused under it.
#[test]
fn a_reference_taken_is_counted() {
    Protocol {
        name: "owner takes, another ends",
        steps: &[
            "enter: light fence",
            "take: acquire of the word",
            "leave: release",
            "settle: heavy fence",
            "settle: waits for the owner to leave",
            "wait_out: acquire",
            "settle: acquire of the count",
            "settle: release of the sum",
            "retire: acquire",
        ],
        spare: &[
            (
                "take: acquire of the word",
                "for the fields that `publish` wrote, which are no part of this",
            ),
            (
                "settle: acquire of the count",
                "for what was done before a put: see the next model",
            ),
            (
                "settle: release of the sum",
                "for who retires in another thread: here it is the same one",
            ),
            (
                "retire: acquire",
                "for puts that were added to the word: see the next model",
            ),
        ],
        memory: vec![OWNED, 0, 0, 0, 0],
        programs: |steps| {
            let mut owner = Code::default();
            take(&mut owner, steps);
            owner.load(8, FIELD);
            let mut other = Code::default();
            end(&mut other, steps);
            vec![owner, other]
        },
        wrong: |end: &End| {
            let taken = end.registers[0][0] == 1;
            let retired = end.registers[1][0] == 1;
            taken && (retired || end.registers[0][8] != 0)
        },
    }
    .prove();
}

/// What an owner did with an entry comes before whatever the next life writes,
/// whether it put its reference back in its own count or in the word.
#[test]
fn a_use_comes_before_the_next_life() {
    Protocol {
        name: "owner uses and puts, another ends",
        steps: &[
            "put: release of the count",
            "settle: heavy fence",
            "settle: waits for the owner to leave",
            "wait_out: acquire",
            "settle: acquire of the count",
            "settle: release of the sum",
            "retire: acquire",
            "put: release of the word",
        ],
        spare: &[
            (
                "put: release of the count",
                "a heavy fence, or `leave`, stands between; where the caller is the owner, it \
                 is program order. It is what the count's reader may rely on without either",
            ),
            (
                "settle: acquire of the count",
                "as the release it pairs with",
            ),
            (
                "settle: release of the sum",
                "for who retires in another thread: here it is the same one",
            ),
        ],
        memory: vec![OWNED, 1, 0, 0, 0],
        programs: |steps| {
            let mut owner = Code::default();
            owner.load(8, FIELD);
            owner.store(NOTE, 1);
            put(&mut owner, true, steps);
            // Not the owner any more: `Refs::put` in the word.
            owner.compute(9, held(7), 0, same);
            let release = steps.has("put: release of the word");
            owner.when(6, held(9), 1, differ, |c| {
                let subtract = |found: Value, one: Value| Some(found - one);
                c.update(1, WORD, 1, subtract, (false, release));
            });
            let mut other = Code::default();
            end(&mut other, steps);
            vec![owner, other]
        },
        wrong: |end: &End| {
            // The reference is put back once: nothing is left, in whatever state.
            let left = end.memory[usize::from(WORD)] & 15 != 0 || end.memory[usize::from(OWN)] != 0;
            let unread = end.registers[1][0] == 1 && end.registers[1][8] != 1;
            end.registers[0][8] != 0 || left || unread
        },
    }
    .prove();
}

const DETACHED: Value = 48;

/// `Refs::put` of a reference in the word, and `claim_detached` where it was the
/// last: register 0 says that it was, register 8 what the last one reads.
fn put_last(c: &mut Code, steps: &Steps) {
    let subtract = |found: Value, one: Value| Some(found - one);
    let release = steps.has("put: release of the word");
    c.update(5, WORD, 1, subtract, (false, release));
    c.when(6, held(5), DETACHED + 1, differ, |c| {
        let claim = |found: Value, _| (found == DETACHED).then_some(RETIRED);
        c.update(5, WORD, 0, claim, (steps.has("claim: acquire"), false));
        c.when(6, held(5), DETACHED, differ, |c| {
            c.set(0, 1);
            c.load(8, NOTE);
        });
    });
}

/// As above where the entry is still in use when it is detached: the one who
/// puts the last reference back, a third thread perhaps, cleans up.
#[test]
fn the_last_user_sees_what_the_owner_did() {
    Protocol {
        name: "owner puts, another detaches, a third puts the last",
        steps: &[
            "put: release of the count",
            "settle: acquire of the count",
            "settle: release of the sum",
            "put: release of the word",
            "claim: acquire",
            "leave and wait_out",
        ],
        spare: &[
            (
                "put: release of the count",
                "`leave` is a release, too, and is waited for with acquire: together they \
                 do; taken away together with them something is found",
            ),
            (
                "settle: acquire of the count",
                "as the release it pairs with",
            ),
            (
                "settle: release of the sum",
                "what was acquired from one thread is seen by all on a machine with one memory: \
                 the language asks for it",
            ),
        ],
        memory: vec![OWNED + 1, 1, 0, 0, 0],
        programs: |steps| {
            let ordered = steps.has("leave and wait_out");
            let mut owner = Code::default();
            owner.store(NOTE, 1);
            put(&mut owner, ordered, steps);
            owner.compute(9, held(7), 0, same);
            owner.when(4, held(9), 1, differ, |c| put_last(c, steps));
            let mut detacher = Code::default();
            let close = |found: Value, _| Some(found - OWNED + CLOSED);
            detacher.update(1, WORD, 0, close, (false, false));
            detacher.heavy();
            detacher.wait_until(2, INSIDE, ordered, (3, 0), differ);
            detacher.load_as(4, OWN, steps.has("settle: acquire of the count"));
            let add = |found: Value, own: Value| Some(found + own);
            let release = steps.has("settle: release of the sum");
            detacher.update(5, WORD, held(4), add, (false, release));
            let detach = |found: Value, _| {
                Some(if found == CLOSED {
                    RETIRED
                } else {
                    found - CLOSED + DETACHED
                })
            };
            detacher.update(6, WORD, 0, detach, (true, false));
            let mut third = Code::default();
            put_last(&mut third, steps);
            vec![owner, detacher, third]
        },
        wrong: |end: &End| {
            let blind = |thread: &[Value; 10]| thread[0] == 1 && thread[8] != 1;
            end.registers.iter().any(blind) || end.memory[usize::from(WORD)] & 15 != 0
        },
    }
    .prove();
}
