//! Keys that are made again before they are compared: their spellings, and who has seen which of them.
#![allow(missing_docs)]

mod common;

use common::dicts::{
    assert_empty, assert_holds, create, delete, get, items, set, set_spelt, writer,
};
use common::new_member;
use procession_core::blob::Blob;
use procession_core::container::Container;
use procession_core::newest::{Newcomers, Newest};
use procession_core::table::{Changed, Copied, Expect, Key, Table};
use procession_core::{ObjectKind, nested};
use procession_shm::member::Member;
use std::collections::BTreeMap;
use std::sync::Barrier;

#[test]
fn a_key_keeps_the_spelling_that_it_was_first_put_in_with() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let lengths = [0, 1, 3, 4, 7, 8, 9, 60, 1000];
    for (number, length) in lengths.into_iter().enumerate() {
        // Keys of all lengths, so that spellings and values begin anywhere in a word.
        let key = vec![b'k'; number + 1];
        let spelling = vec![b's'; length];
        let put = |spelling: &[u8], value: &[u8]| {
            set_spelt(&table, member, &key, spelling, value, Expect::Any)
        };
        assert!(matches!(put(&spelling, b"first"), Changed::Done(_)));
        assert!(matches!(put(&spelling, b"again"), Changed::Done(_)));
        let longer = [&spelling[..], b"x"].concat();
        assert!(matches!(put(&longer, b"no"), Changed::SpeltOtherwise(_)));
        if let [rest @ .., _] = &spelling[..] {
            let other = [rest, b"x"].concat();
            assert!(matches!(put(&other, b"no"), Changed::SpeltOtherwise(_)));
        }
        let blob = Blob::make(member, &key, b"no", &[]).unwrap();
        let found = Key::new(member.arena, &key);
        let plain = table.put(writer(member), found, &blob, Expect::Any);
        assert!(matches!(plain, Ok(Changed::SpeltOtherwise(_))));
        nested::discard(member, &blob);
        assert_eq!(get(&table, member.arena, &key).unwrap(), b"again");
        let mut read = Vec::new();
        assert!(table.spelling(member.arena, found, &mut read));
        assert_eq!(read, spelling);
    }
    let spellings: Vec<_> = items(&table, member).into_iter().map(|it| it.0).collect();
    assert_eq!(spellings, lengths.map(|length| vec![b's'; length]));
    let (mut key, mut spelling, mut value) = (Vec::new(), Vec::new(), Copied::default());
    let last = table.last(member.arena, &mut key, &mut spelling, &mut value);
    assert!(last.is_some());
    assert_eq!((key.len(), spelling.len()), (lengths.len(), 1000));
    assert_eq!(value.bytes, b"again");
    assert_holds(member, 1);
    object.drop_handle(member);
    assert_empty(member);
}

#[test]
fn newcomers_are_met_once_and_a_new_one_is_refused_when_another_came_first() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let nobody = table.newcomers(member.arena, Newest::default(), b'o');
    assert!(nobody.keys.is_empty());
    let new =
        |key: &[u8], newest| set_spelt(&table, member, key, b"spelt", b"", Expect::Newest(newest));
    assert!(matches!(new(b"o1", nobody.newest), Changed::Done(_)));
    assert_eq!(new(b"o2", nobody.newest), Changed::Unexpected(0));
    let first = table.newcomers(member.arena, nobody.newest, b'o');
    assert_eq!(cells_of(&first), [(0, b"o1".to_vec(), b"spelt".to_vec())]);
    let _ = set(&table, member, b"plain", b"");
    assert_eq!(new(b"o2", first.newest), Changed::Unexpected(0));
    let none = table.newcomers(member.arena, first.newest, b'o');
    assert!(none.keys.is_empty() && !none.is_all);
    // Other changes do not matter.
    let _ = set(&table, member, b"plain", b"again");
    assert!(delete(&table, member, b"o1"));
    assert!(matches!(new(b"o2", none.newest), Changed::Done(_)));
    for number in 0..40_u8 {
        let _ = set(&table, member, &[b'p', number], b"");
    }
    let all = table.newcomers(member.arena, none.newest, b'o');
    let o2 = cells_of(&all).pop().unwrap();
    assert!(all.is_all && all.keys.len() == 1, "{all:?}");
    assert_eq!((o2.1, o2.2), (b"o2".to_vec(), b"spelt".to_vec()));
    object.drop_handle(member);
    assert_empty(member);
}

fn cells_of(new: &Newcomers) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let each = new.keys.iter();
    each.map(|new| (new.cell, new.key.clone(), new.spelling.clone()))
        .collect()
}

/// Puts a key of each spelling in under a number of its own, unless there is one. Of every third it takes
/// the key out that it finds, and puts in another.
fn put_unless_there(table: &Table, member: Member, thread: u64, all: &Barrier) {
    let (mut seen, mut known) = (
        Newest::default(),
        BTreeMap::<Vec<u8>, (u64, Vec<u8>)>::new(),
    );
    let mut number = thread << 32;
    for class in 0..200_u64 {
        let spelling = (class / 2).to_be_bytes().to_vec();
        let mut may_go = class % 3 == 0;
        all.wait();
        loop {
            let new = table.newcomers(member.arena, seen, b'o');
            if new.is_all {
                known.clear();
            }
            seen = new.newest;
            for new in new.keys {
                known.insert(new.spelling, (new.cell, new.key));
            }
            let found = known.get(&spelling).map(|(_, key)| key.clone());
            let found =
                found.filter(|key| table.contains(member.arena, Key::new(member.arena, key)));
            match found {
                Some(key) if may_go => {
                    may_go = false;
                    let _ = delete(table, member, &key);
                }
                Some(_) => break,
                None => {
                    // All who are here have looked.
                    std::thread::yield_now();
                    number += 1;
                    let key = [b"o".to_vec(), number.to_be_bytes().to_vec()].concat();
                    let _ = set_spelt(table, member, &key, &spelling, b"", Expect::Newest(seen));
                }
            }
        }
    }
}

#[test]
fn of_keys_that_are_equal_there_is_one_whoever_is_quicker() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let together = Barrier::new(3);
    std::thread::scope(|scope| {
        for thread in 1..=3 {
            let together = &together;
            scope.spawn(move || put_unless_there(&table, member, thread, together));
        }
    });
    let all = table.newcomers(member.arena, Newest::default(), b'o');
    let mut spellings: Vec<_> = all.keys.iter().map(|new| &new.spelling).collect();
    spellings.sort();
    let once: Vec<_> = (0..100_u64)
        .map(|class| class.to_be_bytes().to_vec())
        .collect();
    assert!(spellings.into_iter().eq(&once), "twice, or not at all");
    object.drop_handle(member);
    assert_empty(member);
}
