//! Dicts and lists against plain models: random changes, and what the arena holds afterwards.
#![allow(missing_docs)]

mod common;

use common::dicts::{
    assert_empty, assert_holds, create, delete, get, items, set, set_naming, writer,
};
use common::new_member;
use procession_core::blob::Blob;
use procession_core::container::{Container, Refused};
use procession_core::nested::{self, Opened};
use procession_core::snapshot::What;
use procession_core::table::{Changed, Copied, Expect, Key, Table};
use procession_core::vector::{Edited, Item, Vector};
use procession_core::{ObjectKind, fsck};
use procession_shm::member::Member;
use proptest::prelude::*;

fn append(vector: &Vector, member: Member, values: &[Vec<u8>]) {
    let blobs: Vec<Blob> = values
        .iter()
        .map(|value| Blob::make(member, b"", value, &[]).unwrap())
        .collect();
    vector.append(writer(member), &blobs).unwrap();
}

fn values(vector: &Vector, member: Member) -> Vec<Vec<u8>> {
    let snapshot = vector.0.snapshot(member, What::Values);
    let mut starts = std::iter::once(0).chain(snapshot.ends.iter().copied());
    let all = snapshot.ends.iter();
    all.map(|end| snapshot.bytes[starts.next().unwrap()..*end].to_vec())
        .collect()
}

#[test]
fn values_of_every_length_come_back() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    for key_length in 0..20 {
        for length in (0..40).chain([100, 4000, 32_690, 65_536, 200_001]) {
            let key = vec![7; key_length];
            let value: Vec<u8> = (0..length)
                .map(|at: usize| (at * 7 + key_length) as u8)
                .collect();
            let _ = set(&table, member, &key, &value);
            assert!(get(&table, member.arena, &key).as_ref() == Some(&value));
        }
    }
    assert_eq!(table.0.length(), 20);
    assert_eq!(get(&table, member.arena, &[7; 21]), None);
    assert_eq!(get(&table, member.arena, &[8; 3]), None);
    assert_holds(member, 1);
    object.drop_handle(member);
    assert_empty(member);
}

#[test]
fn a_dict_grows_and_shrinks() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let key = |number: u32| number.to_le_bytes();
    for number in 0..20_000 {
        let _ = set(&table, member, &key(number), b"value");
    }
    assert_holds(member, 1);
    let large = fsck::fsck(member.arena).unwrap().spans;
    for number in 0..20_000 {
        assert!(delete(&table, member, &key(number)));
        assert!(!delete(&table, member, &key(number)));
        if number % 3000 == 0 {
            assert_holds(member, 1);
        }
    }
    assert_eq!(table.0.length(), 0);
    member.trim();
    assert!(fsck::fsck(member.arena).unwrap().spans < large / 4);
    let _ = set(&table, member, b"key", b"value");
    assert_eq!(
        items(&table, member),
        [(b"key".to_vec(), b"value".to_vec())]
    );
    table.0.clear(writer(member)).unwrap();
    assert_eq!(items(&table, member), []);
    assert_holds(member, 1);
    object.drop_handle(member);
    assert_empty(member);
}

#[test]
fn expectations_are_kept() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let Changed::Done(word) = set(&table, member, b"a", b"1") else {
        panic!("nothing was expected");
    };
    let blob = Blob::make(member, b"a", b"2", &[]).unwrap();
    let key = Key::new(member.arena, b"a");
    let refused = [Expect::Absent, Expect::Word(word + 1)];
    for expect in refused {
        let changed = table.put(writer(member), key, &blob, expect).unwrap();
        assert_eq!(changed, Changed::Unexpected(word), "{expect:?}");
    }
    let other = Key::new(member.arena, b"b");
    for expect in [Expect::Present, Expect::Word(word)] {
        let changed = table.delete(writer(member), other, expect).unwrap();
        assert_eq!(changed, Changed::Unexpected(0), "{expect:?}");
    }
    let changed = table.put(writer(member), key, &blob, Expect::Word(word));
    assert!(matches!(changed.unwrap(), Changed::Done(now) if now != word));
    let gone = table.delete(writer(member), key, Expect::Word(word));
    assert!(matches!(gone.unwrap(), Changed::Unexpected(_)));
    assert_eq!(get(&table, member.arena, b"a").unwrap(), b"2");
    object.drop_handle(member);
    assert_empty(member);
}

#[test]
fn who_has_the_lock_excludes_other_writers() {
    let member = new_member();
    let object = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &object).unwrap());
    let line = object.lock_line(member.arena).unwrap();
    let lock = procession_core::SharedLock::new(line);
    let party = |thread| procession_core::lock::Party {
        owner: member.local.owner,
        thread,
    };
    assert!(lock.try_acquire(party(1)));
    table.0.settle(member);
    let _ = set(&table, member, b"a", b"1");
    lock.release(party(1)).unwrap();
    assert!(lock.try_acquire(party(2)));
    let blob = Blob::make(member, b"a", b"2", &[]).unwrap();
    let key = Key::new(member.arena, b"a");
    let refused = table.put(writer(member), key, &blob, Expect::Any);
    assert!(matches!(refused, Err(Refused::Excluded)));
    let refused = table.delete(writer(member), key, Expect::Any);
    assert!(matches!(refused, Err(Refused::Excluded)));
    lock.release(party(2)).unwrap();
    let changed = table.put(writer(member), key, &blob, Expect::Any);
    assert!(matches!(changed, Ok(Changed::Done(_))));
    object.drop_handle(member);
    assert_empty(member);
}

#[test]
fn what_lies_in_a_dict_lives_as_long_as_it_lies_there() {
    let member = new_member();
    let outer = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &outer).unwrap());
    let inner = create(member, ObjectKind::List);
    let named = (inner.offset, inner.serial);
    let _ = set_naming(&table, member, b"a", b"", &[named]);
    let _ = set_naming(&table, member, b"b", b"", &[named, named]);
    append(
        &Vector(Container::of(member.arena, &inner).unwrap()),
        member,
        &[b"item".to_vec()],
    );
    inner.drop_handle(member);
    assert_holds(member, 2);
    let opened = nested::open(member, &table.0, named, || true).unwrap();
    let Opened::Object(again) = opened else {
        panic!("it is there");
    };
    again.drop_handle(member);
    assert!(matches!(
        nested::open(member, &table.0, named, || false).unwrap(),
        Opened::Changed
    ));
    assert!(delete(&table, member, b"a"));
    assert_holds(member, 2);
    let _ = set(&table, member, b"b", b"nothing any more");
    assert_holds(member, 1);
    outer.drop_handle(member);
    assert_empty(member);
}

#[test]
fn what_lies_in_a_chain_of_containers_goes_with_the_first() {
    let member = new_member();
    let first = create(member, ObjectKind::Dict);
    let mut last = first;
    for _ in 0..3000 {
        let next = create(member, ObjectKind::Dict);
        let table = Table(Container::of(member.arena, &last).unwrap());
        let named = (next.offset, next.serial);
        let _ = set_naming(&table, member, b"next", b"", &[named]);
        if last.offset != first.offset {
            last.drop_handle(member);
        }
        last = next;
    }
    last.drop_handle(member);
    assert_holds(member, 3001);
    first.drop_handle(member);
    assert_empty(member);
}

#[test]
fn more_blobs_than_an_objects_header_names_keep_it() {
    let member = new_member();
    let outer = create(member, ObjectKind::Dict);
    let table = Table(Container::of(member.arena, &outer).unwrap());
    let inner = create(member, ObjectKind::Counter);
    let named = (inner.offset, inner.serial);
    for number in 0..40_u8 {
        let _ = set_naming(&table, member, &[number], b"", &[named]);
    }
    inner.drop_handle(member);
    let Opened::Object(again) = nested::open(member, &table.0, named, || true).unwrap() else {
        panic!("it is there");
    };
    again.drop_handle(member);
    for number in 0..40_u8 {
        assert_holds(member, 2);
        assert!(delete(&table, member, &[number]));
    }
    assert_holds(member, 1);
    outer.drop_handle(member);
    assert_empty(member);
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, Vec<u8>),
    Delete(u8),
    PopLast,
    Clear,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let value = || prop::collection::vec(any::<u8>(), 0..40);
    let step = prop_oneof![
        8 => (0..24_u8, value()).prop_map(|(key, value)| Step::Set(key, value)),
        5 => (0..24_u8).prop_map(Step::Delete),
        1 => Just(Step::PopLast),
        1 => Just(Step::Clear),
    ];
    prop::collection::vec(step, 1..200)
}

#[derive(Clone, Debug)]
enum Edit {
    Append(Vec<Vec<u8>>),
    Set(i8, Vec<u8>),
    Pop,
    Insert(u8, Vec<u8>),
    Remove(u8),
    Reverse,
    Clear,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let value = || prop::collection::vec(any::<u8>(), 0..30);
    let edit = prop_oneof![
        6 => prop::collection::vec(value(), 0..5).prop_map(Edit::Append),
        4 => (-20..20_i8, value()).prop_map(|(place, value)| Edit::Set(place, value)),
        5 => Just(Edit::Pop),
        3 => (any::<u8>(), value()).prop_map(|(place, value)| Edit::Insert(place, value)),
        3 => any::<u8>().prop_map(Edit::Remove),
        1 => Just(Edit::Reverse),
        1 => Just(Edit::Clear),
    ];
    prop::collection::vec(edit, 1..120)
}

fn run_edit(vector: &Vector, member: Member, edit: &Edit, model: &mut Vec<Vec<u8>>) {
    let me = writer(member);
    let blob = |value: &[u8]| Blob::make(member, b"", value, &[]).unwrap();
    match edit {
        Edit::Append(values) => {
            append(vector, member, values);
            model.extend(values.iter().cloned());
        }
        Edit::Set(place, value) => {
            let made = blob(value);
            let edited = vector
                .set(me, i64::from(*place), &made, Expect::Any)
                .unwrap();
            let length = model.len() as i64;
            let index = i64::from(*place) + if *place < 0 { length } else { 0 };
            if (0..length).contains(&index) {
                assert_eq!(edited, Edited::Done);
                model[index as usize].clone_from(value);
            } else {
                assert_eq!(edited, Edited::Missing);
                member.free(&made.block);
            }
        }
        Edit::Pop => {
            let mut value = Copied::default();
            let place = vector.get(member.arena, -1, &mut value);
            assert_eq!(place.is_some(), !model.is_empty());
            if let Some(place) = place {
                assert_eq!(vector.pop_last(me, place.word).unwrap(), Edited::Done);
                assert_eq!(model.pop().unwrap(), value.bytes);
            }
        }
        Edit::Insert(place, value) => {
            let place = usize::from(*place).min(model.len());
            let made = [blob(value)];
            let edited = vector.edit(me, &made, |words| {
                let old = |range: std::ops::Range<usize>| range.map(|at| Item::Old(at as u64));
                let before = old(0..place).chain([Item::New(0)]);
                Some(before.chain(old(place..words.len())).collect())
            });
            assert_eq!(edited.unwrap(), Edited::Done);
            model.insert(place, value.clone());
        }
        Edit::Remove(place) => {
            if !model.is_empty() {
                let place = usize::from(*place) % model.len();
                let edited = vector.edit(me, &[], |words| {
                    let kept = (0..words.len()).filter(|at| *at != place);
                    Some(kept.map(|at| Item::Old(at as u64)).collect())
                });
                assert_eq!(edited.unwrap(), Edited::Done);
                model.remove(place);
            }
        }
        Edit::Reverse => {
            let edited = vector.edit(me, &[], |words| {
                let all = (0..words.len()).rev();
                Some(all.map(|at| Item::Old(at as u64)).collect())
            });
            assert_eq!(edited.unwrap(), Edited::Done);
            model.reverse();
        }
        Edit::Clear => {
            vector.0.clear(me).unwrap();
            model.clear();
        }
    }
}

fn cases() -> ProptestConfig {
    ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_dict_is_like_a_plain_one(steps in steps()) {
        let member = new_member();
        let object = create(member, ObjectKind::Dict);
        let table = Table(Container::of(member.arena, &object).unwrap());
        let mut model: Vec<(u8, Vec<u8>)> = Vec::new();
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let _ = set(&table, member, &[key], &value);
                    match model.iter_mut().find(|(known, _)| *known == key) {
                        Some(entry) => entry.1 = value,
                        None => model.push((key, value)),
                    }
                }
                Step::Delete(key) => {
                    let at = model.iter().position(|(known, _)| *known == key);
                    prop_assert_eq!(delete(&table, member, &[key]), at.is_some());
                    at.map(|at| model.remove(at));
                }
                Step::PopLast => {
                    let (mut key, mut spelling) = (Vec::new(), Vec::new());
                    let mut value = Copied::default();
                    let last = table.last(member.arena, &mut key, &mut spelling, &mut value);
                    prop_assert_eq!(&key, &spelling);
                    prop_assert_eq!(last.is_some(), !model.is_empty());
                    if let Some(place) = last {
                        let found = Key::new(member.arena, &key);
                        let expect = Expect::Word(place.word);
                        let gone = table.delete(writer(member), found, expect).unwrap();
                        prop_assert_eq!(gone, Changed::Done(0));
                        prop_assert_eq!((key[0], value.bytes), model.pop().unwrap());
                    }
                }
                Step::Clear => {
                    table.0.clear(writer(member)).unwrap();
                    model.clear();
                }
            }
            prop_assert_eq!(table.0.length(), model.len() as u64);
        }
        for key in 0..24_u8 {
            let expected = model.iter().find(|(known, _)| *known == key);
            let found = get(&table, member.arena, &[key]);
            prop_assert_eq!(found.as_ref(), expected.map(|it| &it.1));
        }
        let expected: Vec<_> = model.into_iter().map(|(key, value)| (vec![key], value)).collect();
        prop_assert_eq!(items(&table, member), expected);
        assert_holds(member, 1);
        object.drop_handle(member);
        assert_empty(member);
    }

    #[test]
    fn a_list_is_like_a_plain_one(edits in edits()) {
        let member = new_member();
        let object = create(member, ObjectKind::List);
        let vector = Vector(Container::of(member.arena, &object).unwrap());
        let mut model: Vec<Vec<u8>> = Vec::new();
        for edit in edits {
            run_edit(&vector, member, &edit, &mut model);
            prop_assert_eq!(vector.length(member.arena), model.len() as u64);
            prop_assert_eq!(vector.0.length(), model.len() as u64);
        }
        prop_assert_eq!(values(&vector, member), model);
        assert_holds(member, 1);
        object.drop_handle(member);
        assert_empty(member);
    }
}
