//! Dicts on a real arena: what is done with them, and what is left.

use procession_core::blob::{Blob, Named, spell};
use procession_core::container::{CONTAINER_BYTES, Writer};
use procession_core::snapshot::What;
use procession_core::table::{Changed, Copied, Expect, Key, Table};
use procession_core::{Object, ObjectKind, fsck, nested};
use procession_shm::Arena;
use procession_shm::member::Member;

pub(crate) fn create(member: Member, kind: ObjectKind) -> Object {
    Object::create(member, kind, CONTAINER_BYTES, |_| Ok(())).unwrap()
}

pub(crate) fn writer(member: Member) -> Writer {
    Writer { member, thread: 1 }
}

pub(crate) fn set(table: &Table, member: Member, key: &[u8], value: &[u8]) -> Changed {
    set_naming(table, member, key, value, &[])
}

pub(crate) fn set_naming(
    table: &Table,
    member: Member,
    key: &[u8],
    value: &[u8],
    named: &[Named],
) -> Changed {
    let blob = Blob::make(member, key, value, named).unwrap();
    nested::enter(member, &blob, named).unwrap();
    let key = Key::new(member.arena, key);
    table.put(writer(member), key, &blob, Expect::Any).unwrap()
}

pub(crate) fn delete(table: &Table, member: Member, key: &[u8]) -> bool {
    let key = Key::new(member.arena, key);
    let changed = table.delete(writer(member), key, Expect::Present);
    matches!(changed.unwrap(), Changed::Done(_))
}

pub(crate) fn get(table: &Table, arena: &Arena, key: &[u8]) -> Option<Vec<u8>> {
    let mut value = Copied {
        bytes: b"before".to_vec(),
        ..Copied::default()
    };
    table.get(arena, Key::new(arena, key), &mut value)?;
    Some(value.bytes.split_off(6))
}

pub(crate) fn items(table: &Table, member: Member) -> Vec<(Vec<u8>, Vec<u8>)> {
    let snapshot = table.0.snapshot(member, What::Both);
    let mut starts = std::iter::once(0).chain(snapshot.ends.iter().copied());
    let parts: Vec<Vec<u8>> = snapshot
        .ends
        .iter()
        .map(|end| snapshot.bytes[starts.next().unwrap()..*end].to_vec())
        .collect();
    let pairs = parts.chunks_exact(2);
    pairs
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

/// Nothing is wrong, and nothing but these objects and what they say they have is there.
pub(crate) fn assert_holds(member: Member, objects: usize) {
    let report = fsck::fsck(member.arena).unwrap();
    assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
    assert!(report.leaked.is_empty(), "{:?}", report.leaked);
    assert_eq!((report.garbage, report.objects), (0, objects), "{report:?}");
}

pub(crate) fn assert_empty(member: Member) {
    member.trim();
    let report = fsck::fsck(member.arena).unwrap();
    let left = (report.objects, report.blocks, report.spans);
    assert_eq!(left, (0, 0, 0), "{report:?}");
}

pub(crate) fn set_spelt(
    table: &Table,
    member: Member,
    key: &[u8],
    spelling: &[u8],
    value: &[u8],
    expect: Expect,
) -> Changed {
    let mut rest = Vec::new();
    spell(spelling, &mut rest);
    rest.extend_from_slice(value);
    let blob = Blob::make_spelt(member, key, &rest, &[]).unwrap();
    let found = Key::new(member.arena, key);
    let changed = table.put(writer(member), found, &blob, expect).unwrap();
    if !matches!(changed, Changed::Done(_)) {
        nested::discard(member, &blob);
    }
    changed
}
