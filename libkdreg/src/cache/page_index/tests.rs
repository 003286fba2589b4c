// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

/// Every entry noted for the page.
fn candidates(page_index: &PageIndex, address: usize) -> Vec<u32> {
    let mut all = Vec::new();
    page_index.find::<()>(address, |entry| {
        all.push(entry);
        None
    });
    all
}

#[test]
fn finds_what_was_noted() {
    let page_index = PageIndex::new().unwrap();
    page_index.reserve(10_000);
    for entry in 1..10_001u32 {
        page_index.note(entry as usize * 4096 + 17, entry, |_| true);
    }
    let found = (1..10_001u32)
        .filter(|&entry| candidates(&page_index, entry as usize * 4096).contains(&entry))
        .count();
    assert!(found > 9_800, "{found}");
    assert_eq!(
        candidates(&page_index, 20_000 * 4096)
            .iter()
            .filter(|c| **c > 10_000)
            .count(),
        0
    );
}

#[test]
fn places_are_half_full_at_most() {
    let page_index = PageIndex::new().unwrap();
    for (entries, buckets) in [(0, 8), (32, 8), (33, 16), (300, 128), (33, 128)] {
        page_index.reserve(entries);
        assert_eq!(page_index.buckets(), buckets, "for {entries}");
    }
    // As where another thread was first.
    page_index.grow(33);
    assert_eq!(page_index.buckets(), 128);
}

/// Between them, the two halves of a bucket have all that is noted in it.
#[test]
fn what_first_does_not_look_at_is_found_beyond() {
    let page_index = PageIndex::new().unwrap();
    page_index.reserve(300);
    let (mut at_first, mut beyond) = (0, 0);
    // As many as there are places, so that buckets are full.
    for entry in 1..page_index.buckets() as u32 * WAYS as u32 {
        let address = entry as usize * 4096;
        page_index.note(address, entry, |_| true);
        if !candidates(&page_index, address).contains(&entry) {
            continue;
        }
        match page_index.first(address) {
            Some(_) => at_first += 1,
            None => {
                let accept = |found| (found == entry).then_some(());
                assert!(page_index.find_beyond_first(address, accept).is_some());
                beyond += 1;
            }
        }
    }
    assert!(at_first > 0 && beyond > 0, "{at_first}, {beyond}");
}

/// Neither what is noted for other pages in the same bucket, nor free places, which
/// look as if something were noted for a page whose hash is 0.
#[test]
fn nothing_but_notes_of_the_page_is_offered() {
    let page_index = PageIndex::new().unwrap();
    let entries = 1..page_index.buckets() as u32 * WAYS as u32;
    for entry in entries.clone() {
        page_index.note(entry as usize * 4096, entry, |_| true);
    }
    let offered = |address: usize| {
        let mut all = candidates(&page_index, address);
        page_index.find_beyond_first::<()>(address, |entry| {
            all.push(entry);
            None
        });
        all
    };
    for entry in entries {
        assert!(offered(entry as usize * 4096).iter().all(|it| *it == entry));
    }
    assert!(offered(1 << 44).is_empty());
    let empty = PageIndex::new().unwrap();
    assert!(candidates(&empty, 1 << 44).is_empty());
}

#[test]
fn replaces_dead_notes_first() {
    let page_index = PageIndex::new().unwrap();
    for entry in 1..1001u32 {
        page_index.note(0x5000, entry, |other| other == 1);
    }
    assert!(candidates(&page_index, 0x5000).contains(&1));
    assert!(candidates(&page_index, 0x5000).contains(&1000));
}

/// Whichever place its page begins at.
#[test]
fn a_note_looks_at_each_place_of_its_page_and_at_no_other() {
    for address in (1..=64).map(|page| page * 4096) {
        let page_index = PageIndex::new().unwrap();
        let noted = || {
            let mut all = candidates(&page_index, address);
            all.sort_unstable();
            all
        };
        let ways = WAYS as u32;
        for entry in (1..=ways).chain(1..=ways) {
            page_index.note(address, entry, |_| true);
        }
        assert!(noted().into_iter().eq(1..=ways));
        for dead in 1..=ways {
            page_index.note(address, ways + dead, |it| it != dead);
        }
        assert!(noted().into_iter().eq(ways + 1..=2 * ways));

        let page_index = PageIndex::new().unwrap();
        let bucket = |address| std::ptr::from_ref(page_index.bucket(Hash::of(address)).0);
        let mut others = (65..).map(|page| page * 4096);
        let other = others.find(|it| bucket(*it) == bucket(address)).unwrap();
        page_index.note(other, 1, |_| true);
        page_index.note(address, 2, |_| true);
        page_index.note(address, 3, |it| {
            assert_eq!(it, 2, "of another page");
            true
        });
    }
}

/// Where none is free, and none of the page is dead.
#[test]
fn a_note_takes_the_place_of_what_is_dead_in_its_bucket() {
    for dead in 1..=WAYS as u32 {
        let page_index = PageIndex::new().unwrap();
        let bucket = |address| std::ptr::from_ref(page_index.bucket(Hash::of(address)).0);
        let all = (1..).map(|page| page * 4096);
        let mut pages = all.filter(|it| bucket(*it) == bucket(4096)).take(WAYS + 1);
        for (entry, address) in (1..).zip(pages.by_ref().take(WAYS)) {
            page_index.note(address, entry, |_| true);
        }
        page_index.note(pages.next().unwrap(), 100, |it| it != dead);
        let places = &page_index.bucket(Hash::of(4096)).0.0;
        let mut left: Vec<u32> = (places.iter())
            .map(|place| entry_of(place.load(Ordering::Relaxed)))
            .collect();
        left.sort_unstable();
        let expected = (1..=WAYS as u32).filter(|it| *it != dead).chain([100]);
        assert!(left.into_iter().eq(expected), "{dead}");
    }
}

#[test]
fn a_note_is_forgotten_and_no_other() {
    let page_index = PageIndex::new().unwrap();
    page_index.note(0x5000, 1, |_| true);
    page_index.note(0x5000, 2, |_| true);
    // Not noted: for this page, or this entry.
    page_index.forget(0x6000, 2);
    page_index.forget(0x5000, 3);
    assert_eq!(candidates(&page_index, 0x5123).len(), 2);
    page_index.forget(0x5123, 1);
    assert_eq!(candidates(&page_index, 0x5000), [2]);
}

/// As long as there is a free place no entry is asked about, but those
/// noted for the page itself.
#[test]
fn what_is_forgotten_makes_room_without_asking() {
    let page_index = PageIndex::new().unwrap();
    for entry in 1..10_001u32 {
        let address = entry as usize * 4096;
        page_index.note(address, entry, |other| panic!("asked about {other}"));
        page_index.forget(address, entry);
    }
    page_index.note(0x5000, 1, |_| true);
    page_index.note(0x5000, 2, |other| {
        assert_eq!(other, 1);
        false
    });
    assert_eq!(candidates(&page_index, 0x5000), [2]);
}
