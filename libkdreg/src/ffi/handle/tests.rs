// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

#[test]
fn a_slot_that_was_never_opened_is_refused() {
    // Of its own: in the process's some were opened.
    static PLACE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
    let table = make(&PLACE).unwrap();
    assert!(table.slots.committed() >= QUICK);
    for index in [0, 1, QUICK as u32 - 1, table.slots.committed() as u32 - 1] {
        let slot = table.slots.at(index);
        assert_eq!(refusal::<Cache>(table, slot), Errno::EBADF);
        assert_eq!(refusal::<Monitor>(table, slot), Errno::EBADF);
    }
}

#[test]
fn every_slot_that_can_be_opened_can_be_refused() {
    static PLACE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
    let table = make(&PLACE).unwrap();
    let closed = Closed::default();
    let mut last = 0;
    while let Ok(index) = take_slot(table, &closed) {
        last = index;
    }
    assert_eq!(last as usize, MAX_HANDLES - 1);
    assert_eq!(refusal::<Cache>(table, table.slots.at(last)), Errno::EBADF);
    // What a forked child finds of one that its parent had open.
    table
        .inherited
        .at(last)
        .store(Cache::TYPE, Ordering::Relaxed);
    assert_eq!(refusal::<Cache>(table, table.slots.at(last)), Errno::ECHILD);
    assert_eq!(
        refusal::<Monitor>(table, table.slots.at(last)),
        Errno::EBADF
    );
}
