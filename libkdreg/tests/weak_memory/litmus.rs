// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine against the tests that the literature agrees on: what ARMv8 allows
//! must be found, what it forbids must not.

use super::machine::explore;
use super::program::{Address, Code, Value, held};

const X: u8 = 0;
const Y: u8 = 1;

/// Whether the programs can end with these values in the first registers of the
/// threads: one list for each.
fn happens(programs: &[Code], expected: &[&[Value]]) -> bool {
    let explored = explore(programs, &[0; 4], |end| {
        (end.registers.iter().zip(expected)).all(|(held, expected)| held.starts_with(expected))
    });
    explored.wrong.is_some()
}

fn code(write: impl FnOnce(&mut Code)) -> Code {
    let mut code = Code::default();
    write(&mut code);
    code
}

#[test]
fn message_passing_needs_both_orders() {
    for (release, acquire) in [(false, false), (false, true), (true, false), (true, true)] {
        let writer = code(|c| {
            c.store(X, 1);
            c.store_as(Y, 1, release);
        });
        let reader = code(|c| {
            c.load_as(0, Y, acquire);
            c.load(1, X);
        });
        let stale = happens(&[writer, reader], &[&[], &[1, 0]]);
        assert_eq!(stale, !(release && acquire), "{release} {acquire}");
    }
}

#[test]
fn a_fence_of_loads_orders_what_follows() {
    let writer = code(|c| {
        c.store(X, 1);
        c.store_release(Y, 1);
    });
    let reader = code(|c| {
        c.load(0, Y);
        c.fence_loads();
        c.load(1, X);
    });
    assert!(!happens(&[writer, reader], &[&[], &[1, 0]]));
    // Not what came before: a store may still be on its way.
    let side = |mine, other| {
        code(|c| {
            c.store(mine, 1);
            c.fence_loads();
            c.load(0, other);
        })
    };
    assert!(happens(&[side(X, Y), side(Y, X)], &[&[0], &[0]]));
}

#[test]
fn a_branch_orders_no_load_and_an_address_does() {
    let writer = code(|c| {
        c.store(X, 1);
        c.store_release(Y, 1);
    });
    let branch = code(|c| {
        c.load(0, Y);
        c.when(2, held(0), 1, super::program::differ, |c| c.load(1, X));
    });
    assert!(happens(&[writer.clone(), branch], &[&[], &[1, 0]]));
    let address = code(|c| {
        c.load(0, Y);
        c.compute(2, held(0), held(0), |a, b| a - b);
        let plus = held(2);
        c.load(1, Address { place: X, plus });
    });
    assert!(!happens(&[writer, address], &[&[], &[1, 0]]));
}

#[test]
fn store_buffering_needs_full_fences() {
    let side = |mine, other, fence: bool, release: bool| {
        code(|c| {
            c.store_as(mine, 1, release);
            if fence {
                c.fence();
            }
            c.load_as(0, other, release);
        })
    };
    let both = |fence, release| {
        let programs = [side(X, Y, fence, release), side(Y, X, fence, release)];
        happens(&programs, &[&[0], &[0]])
    };
    assert!(both(false, false));
    assert!(both(false, true), "LDAPR may overtake STLR");
    assert!(!both(true, false));
    let one = [side(X, Y, true, false), side(Y, X, false, false)];
    assert!(happens(&one, &[&[0], &[0]]));
}

#[test]
fn membarrier_makes_up_for_the_other_sides_fence() {
    let light = |mine, other| {
        code(|c| {
            c.store(mine, 1);
            c.load(0, other);
        })
    };
    let heavy = code(|c| {
        c.store(Y, 1);
        c.heavy();
        c.load(0, X);
    });
    assert!(!happens(&[light(X, Y), heavy], &[&[0], &[0]]));
    assert!(happens(&[light(X, Y), light(Y, X)], &[&[0], &[0]]));
}

#[test]
fn load_buffering_happens_unless_the_store_depends_or_releases() {
    let side = |from, to, how: u8| {
        code(|c| {
            c.load(0, from);
            match how {
                0 => c.store(to, 1),
                1 => c.store_release(to, 1),
                _ => c.when(1, held(0), 1, super::program::differ, |c| c.store(to, 1)),
            }
        })
    };
    for (how, expected) in [(0, true), (1, false), (2, false)] {
        let programs = [side(X, Y, how), side(Y, X, how)];
        assert_eq!(happens(&programs, &[&[1], &[1]]), expected, "{how}");
    }
}

#[test]
fn all_threads_see_stores_in_one_order() {
    // Independent reads of independent writes: multi-copy atomicity.
    let write = |place| code(|c| c.store(place, 1));
    let read = |first, second, acquire| {
        code(|c| {
            c.load_as(0, first, acquire);
            c.load(1, second);
        })
    };
    for acquire in [false, true] {
        let programs = [write(X), write(Y), read(X, Y, acquire), read(Y, X, acquire)];
        let expected: [&[Value]; 4] = [&[], &[], &[1, 0], &[1, 0]];
        assert_eq!(happens(&programs, &expected), !acquire);
    }
}

#[test]
fn one_place_is_coherent_and_updates_lose_nothing() {
    let writer = code(|c| {
        c.store(X, 1);
        c.store(X, 2);
    });
    let reader = code(|c| {
        c.load(0, X);
        c.load(1, X);
    });
    assert!(!happens(&[writer, reader], &[&[], &[2, 1]]));
    let add = || code(|c| c.update(0, X, 1, |found, one| Some(found + one), (false, false)));
    let lost = explore(&[add(), add()], &[0], |end| end.memory[0] != 2);
    assert!(lost.wrong.is_none() && lost.ends > 0);
}

#[test]
fn what_follows_an_update_may_come_before_its_store() {
    let side = |mine, other| {
        code(|c| {
            c.update(1, mine, 1, |_, new| Some(new), (true, true));
            c.load(0, other);
        })
    };
    assert!(happens(&[side(X, Y), side(Y, X)], &[&[0], &[0]]));
}

#[test]
fn a_thread_sees_its_own_store_before_others_do() {
    let side = |mine, other| {
        code(|c| {
            c.store(mine, 1);
            c.load(0, mine);
            c.load(1, other);
        })
    };
    assert!(happens(&[side(X, Y), side(Y, X)], &[&[1, 0], &[1, 0]]));
}
