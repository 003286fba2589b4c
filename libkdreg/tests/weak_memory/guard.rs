// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard of an asynchronous backend (`monitor::guard`): a handler takes a
//! change in while a lookup asks.

use super::machine::End;
use super::mutants::{Protocol, Steps};
use super::program::{Code, Value, differ, held, same};

/// Even: settled.
const GUARD: u8 = 0;
/// A region's state word.
const WORD: u8 = 1;
/// The kernel has let the changing thread go.
const RELEASED: u8 = 2;
/// The changing call has returned, and its caller says so.
const RETURNED: u8 = 3;

fn handler(steps: &Steps) -> Code {
    let mut c = Code::default();
    let odd = |found: Value, _| Some(found | 1);
    c.update(0, GUARD, 0, odd, (false, false));
    if steps.has("enter: fence") {
        c.fence();
    }
    // read(2): wakes the changing thread, as an unlock does.
    c.store_release(RELEASED, 1);
    c.store_as(WORD, 1, true);
    let even = |found: Value, _| Some(found + 1);
    c.update(1, GUARD, 0, even, (false, steps.has("leave: release")));
    c
}

fn changer() -> Code {
    let mut c = Code::default();
    c.wait_until(0, RELEASED, true, (1, 1), differ);
    c.store_release(RETURNED, 1);
    c
}

/// Register 0: it was told that the call has returned. Register 4: it took the
/// region for valid.
fn lookup(steps: &Steps) -> Code {
    let mut c = Code::default();
    c.load_acquire(0, RETURNED);
    c.load_acquire(1, GUARD);
    let acquire = steps.has("standing: acquire");
    if !acquire {
        c.0.pop();
        c.load(1, GUARD);
    }
    let first = steps.has("the guard is asked before the word");
    if !first {
        c.0.pop();
        c.load_acquire(2, WORD);
        c.load_acquire(1, GUARD);
    }
    c.compute(3, held(1), 0, |guard, _| guard & 1);
    if first {
        c.load_acquire(2, WORD);
    }
    c.compute(5, held(2), 0, same);
    c.compute(6, held(3), 0, same);
    c.compute(4, held(5), held(6), |unchanged, settled| {
        unchanged & settled
    });
    c
}

#[test]
fn a_change_that_returned_is_seen() {
    Protocol {
        name: "guard and handler",
        steps: &[
            "enter: fence",
            "leave: release",
            "standing: acquire",
            "the guard is asked before the word",
        ],
        spare: &[(
            "enter: fence",
            "read(2) releases here; that it does is not relied on, a system call promises nothing",
        )],
        memory: vec![0; 4],
        programs: |steps| vec![handler(steps), changer(), lookup(steps)],
        wrong: |end: &End| end.registers[2][0] == 1 && end.registers[2][4] == 1,
    }
    .prove();
}
