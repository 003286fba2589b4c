// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page index (`cache::page_index`), which lookups read without a lock: while
//! it grows, while an entry is noted, and when what is noted is another by now.

use super::machine::End;
use super::mutants::{Protocol, Steps};
use super::program::{Address, Code, Operation, Place, Value, differ, held, same};

/// Which table lookups are led to, and how many places they take it to have.
const BASE: Place = 0;
const PLACES: Place = 1;
/// Whether the memory of table 1, 2 and 3 is there.
const THERE: Place = 2;

/// `PageIndex::lead_to` a table of twice the size, whose memory was mapped.
fn lead_to(c: &mut Code, table: Value, steps: &Steps) {
    let place = THERE + table as Place;
    c.store(place, 1);
    c.store_as(BASE, table, steps.has("lead_to: release of the base"));
    c.store_as(
        PLACES,
        8 << table,
        steps.has("lead_to: release of the places"),
    );
}

/// The index grows twice while a page is looked up: the place is in the table, and
/// the table's memory is there.
#[test]
fn a_place_is_in_its_table() {
    Protocol {
        name: "a lookup while the page index grows",
        steps: &[
            "lead_to: release of the base",
            "lead_to: release of the places",
            "place: the places before the base",
            "place: acquire of the places",
            "place: acquire of the base",
        ],
        spare: &[(
            "place: acquire of the base",
            "the address of the place depends on it, and orders it on every machine but the \
             language's",
        )],
        memory: vec![0, 8, 1, 0, 0],
        programs: |steps| {
            let mut grower = Code::default();
            lead_to(&mut grower, 1, steps);
            lead_to(&mut grower, 2, steps);
            let mut lookup = Code::default();
            let places = steps.has("place: acquire of the places");
            let base = steps.has("place: acquire of the base");
            if steps.has("place: the places before the base") {
                lookup.load_as(0, PLACES, places);
                lookup.load_as(1, BASE, base);
            } else {
                lookup.load_as(1, BASE, base);
                lookup.load_as(0, PLACES, places);
            }
            let plus = held(1);
            lookup.load(2, Address { place: THERE, plus });
            vec![grower, lookup]
        },
        wrong: |end: &End| {
            let [places, base, there, ..] = end.registers[1];
            places > 8 << base || there != 1
        },
    }
    .prove();
}

/// An entry: whether its memory is there, its word, and the page that it serves.
/// Place 0 is where entry 0 would be, which is none.
const COMMITTED: Place = 1;
const WORD: Place = 2;
const PAGE: Place = 3;
/// Where the page is noted: 0, or an entry's offset among the entries.
const NOTED: Place = 4;
/// What deregistering makes of the handle that a user of the entry has.
const HANDLE: Place = 5;

/// The low bits are the count.
const LIVE: Value = 16;
const RETIRED: Value = 32;
/// Live, in the next life. Whoever looks does not tell it from `LIVE`: it is for
/// who judges.
const AGAIN: Value = 64;

fn add(found: Value, operand: Value) -> Option<Value> {
    Some(found + operand)
}

/// A lookup of page 1 by way of the index, as `find_noted` and `take` do: register
/// 0 gets the word when it took a reference, and register 4 whether that is a hit;
/// register 8 what it then finds of the handle.
fn lookup(steps: &Steps) -> Code {
    let mut c = Code::default();
    c.load_as(7, NOTED, steps.has("first: acquire of what is noted"));
    // A tag that is another page's, or nothing.
    c.when(6, held(7), 0, same, |c| {
        // The address of the entry is made from what was noted.
        let plus = held(7);
        c.load(
            9,
            Address {
                place: COMMITTED - 1,
                plus,
            },
        );
        let word = Address {
            place: WORD - 1,
            plus,
        };
        let acquire = steps.has("take: acquire");
        c.update(0, word, 1, add, (acquire, false));
        c.compute(3, held(0), 0, |word, _| {
            Value::from(word & (LIVE | AGAIN) != 0)
        });
        c.when(6, held(3), 1, differ, |c| {
            c.load(
                2,
                Address {
                    place: PAGE - 1,
                    plus,
                },
            );
            c.when(6, held(2), 1, differ, |c| {
                c.set(4, 1);
                c.load(8, HANDLE);
            });
        });
        let subtract = |found: Value, one: Value| Some(found - one);
        c.update(5, word, 1, subtract, (false, steps.has("put: release")));
    });
    c
}

/// An entry is made for page 1 and noted: whoever finds the note finds the entry.
#[test]
fn what_is_noted_is_there() {
    Protocol {
        name: "a lookup while an entry is noted",
        steps: &[
            "note: release",
            "first: acquire of what is noted",
            "take: acquire",
            "publish: release",
            "put: release",
        ],
        spare: &[
            (
                "first: acquire of what is noted",
                "the entry's address depends on it, and orders it on every machine but the \
                 language's",
            ),
            (
                "publish: release",
                "`note`, which is one, follows; who comes by the tree has the lock. It is for who \
                 has an older note: see the next model",
            ),
            (
                "take: acquire",
                "as the release it pairs with: see the next model",
            ),
            ("put: release", "see the next model"),
        ],
        memory: vec![0; 6],
        programs: |steps| {
            let mut maker = Code::default();
            maker.store(COMMITTED, 1);
            maker.store(PAGE, 1);
            maker.update(0, WORD, LIVE, add, (false, steps.has("publish: release")));
            maker.store_as(NOTED, 1, steps.has("note: release"));
            vec![maker, lookup(steps)]
        },
        wrong: |end: &End| {
            let [word, .., found, _, there] = end.registers[1];
            found != 0 && (there != 1 || word & LIVE == 0 || end.registers[1][4] != 1)
        },
    }
    .prove();
}

/// What is noted for page 1 is an entry that ends, and is page 2's in its next
/// life: that is no hit, and nobody who has a hit sees what it was be undone.
#[test]
fn an_old_note_leads_to_no_other_page() {
    Protocol {
        name: "a lookup by an old note, and the next life",
        steps: &[
            "first: acquire of what is noted",
            "take: acquire",
            "put: release",
            "retire: acquire",
            "publish: release",
            "the page is looked at with a reference",
        ],
        spare: &[
            (
                "first: acquire of what is noted",
                "for what was noted this moment: see the model before",
            ),
            (
                "retire: acquire",
                "for what is read then: see the models of owners. What is written depends on the \
                 exchange by a branch, and no store is a guess",
            ),
        ],
        memory: vec![0, 1, LIVE, 1, 1, 0],
        programs: |steps| {
            let mut next = Code::default();
            let retire = |found: Value, _| (found == LIVE).then_some(RETIRED);
            next.update(0, WORD, 0, retire, (steps.has("retire: acquire"), false));
            next.when(1, held(0), LIVE, differ, |c| {
                c.store(HANDLE, 1);
                let free = |found: Value, _| Some(found - RETIRED);
                c.update(2, WORD, 0, free, (false, true));
                c.store(PAGE, 2);
                c.store(HANDLE, 2);
                c.update(2, WORD, AGAIN, add, (false, steps.has("publish: release")));
            });
            let mut lookup = lookup(steps);
            if !steps.has("the page is looked at with a reference") {
                // Before it has one, and believed.
                let mut early = Code::default();
                early.load(1, PAGE);
                early.append(lookup);
                for operation in &mut early.0 {
                    if let Operation::Load { into: 2, .. } = operation {
                        *operation = Operation::Compute {
                            into: 2,
                            from: [held(1), 0.into()],
                            function: |page, _| page,
                        };
                    }
                }
                lookup = early;
            }
            vec![next, lookup]
        },
        wrong: |end: &End| {
            let thread = end.registers[1];
            let hit = thread[4] == 1;
            hit && (thread[0] & LIVE == 0 || thread[8] != 0)
        },
    }
    .prove();
}
