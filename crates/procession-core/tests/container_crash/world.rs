//! A survivor with a dict and a list, and what they may hold after a victim's changes.

use crate::victims::{Ended, HIT, die_at, in_a_process};
use procession_core::blob::{Blob, Named};
use procession_core::container::{CONTAINER_BYTES, Container, Writer};
use procession_core::nested::{self, Opened};
use procession_core::snapshot::What;
use procession_core::table::{Changed, Copied, Expect, Key, Table};
use procession_core::vector::{Edited, Item, Vector};
use procession_core::{Object, ObjectKind, fsck, sweep};
use procession_shm::Arena;
use procession_shm::local::Holdings;
use procession_shm::member::Member;
use procession_shm::span::SpanState;

/// A change. Keys and values are numbers: of the key, of the value's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Set(u8, usize),
    Delete(u8),
    Clear,
    /// A new list under a key.
    Nest(u8),
    OpenNested(u8),
    Append(usize),
    SetItem(i64, usize),
    Pop,
    Insert(usize, usize),
    RemoveItem(usize),
    NestItem,
    Reverse,
    ClearList,
    Sweep,
}

/// A member's value: its bytes, or a container of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Value {
    Plain(Vec<u8>),
    Nested,
}

/// What the two containers hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct State {
    dict: Vec<(u8, Value)>,
    list: Vec<Value>,
}

fn plain(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + length) as u8).collect()
}

impl State {
    fn put(&mut self, key: u8, value: Value) {
        match self.dict.iter_mut().find(|(known, _)| *known == key) {
            Some(entry) => entry.1 = value,
            None => self.dict.push((key, value)),
        }
    }

    fn index(&self, place: i64) -> usize {
        let length = self.list.len() as i64;
        (if place < 0 { place + length } else { place }) as usize
    }

    fn apply(&mut self, act: Act) {
        match act {
            Act::Set(key, length) => self.put(key, Value::Plain(plain(length))),
            Act::Delete(key) => self.dict.retain(|(known, _)| *known != key),
            Act::Clear => self.dict.clear(),
            Act::Nest(key) => self.put(key, Value::Nested),
            Act::Append(count) => {
                let more = (0..count).map(|number| Value::Plain(plain(number)));
                self.list.extend(more);
            }
            Act::SetItem(place, length) => {
                let index = self.index(place);
                self.list[index] = Value::Plain(plain(length));
            }
            Act::Pop => drop(self.list.pop()),
            Act::Insert(at, length) => self.list.insert(at, Value::Plain(plain(length))),
            Act::RemoveItem(at) => drop(self.list.remove(at)),
            Act::NestItem => self.list.push(Value::Nested),
            Act::Reverse => self.list.reverse(),
            Act::ClearList => self.list.clear(),
            Act::OpenNested(_) | Act::Sweep => {}
        }
    }

    fn nested(&self) -> usize {
        let values = self.dict.iter().map(|(_, value)| value).chain(&self.list);
        values.filter(|value| **value == Value::Nested).count()
    }
}

/// A process and its handles to both.
struct Party {
    member: Member,
    table: Table,
    vector: Vector,
}

impl Party {
    fn of(member: Member, dict: &Object, list: &Object) -> Self {
        Self {
            member,
            table: Table(Container::of(member.arena, dict).unwrap()),
            vector: Vector(Container::of(member.arena, list).unwrap()),
        }
    }

    fn writer(&self) -> Writer {
        Writer {
            member: self.member,
            thread: 1,
        }
    }

    fn blob(&self, key: &[u8], value: &Value) -> Blob {
        let Value::Plain(bytes) = value else {
            let inner = create(self.member, ObjectKind::List);
            let named = (inner.offset, inner.serial);
            let items = Vector(Container::of(self.member.arena, &inner).unwrap());
            let item = Blob::make(self.member, b"", b"inside", &[]).unwrap();
            items.append(self.writer(), &[item]).unwrap();
            let blob = Blob::make(self.member, key, b"nested", &[named]).unwrap();
            nested::enter(self.member, &blob, &[named]).unwrap();
            inner.drop_handle(self.member);
            return blob;
        };
        Blob::make(self.member, key, bytes, &[]).unwrap()
    }

    fn put(&self, key: u8, value: &Value) {
        let blob = self.blob(&[key], value);
        let key = [key];
        let key = Key::new(self.member.arena, &key);
        let put = self.table.put(self.writer(), key, &blob, Expect::Any);
        assert!(matches!(put.unwrap(), Changed::Done(_)));
    }

    fn append(&self, values: &[Value]) {
        let blobs: Vec<_> = values.iter().map(|value| self.blob(b"", value)).collect();
        self.vector.append(self.writer(), &blobs).unwrap();
    }

    fn edit(&self, blobs: &[Blob], plan: impl FnMut(&[u64]) -> Option<Vec<Item>>) {
        let edited = self.vector.edit(self.writer(), blobs, plan);
        assert_eq!(edited.unwrap(), Edited::Done);
    }

    fn run(&self, act: Act) {
        let old = |place: usize| Item::Old(place as u64);
        match act {
            Act::Set(key, length) => self.put(key, &Value::Plain(plain(length))),
            Act::Nest(key) => self.put(key, &Value::Nested),
            Act::Delete(key) => {
                let key = [key];
                let key = Key::new(self.member.arena, &key);
                let _ = self.table.delete(self.writer(), key, Expect::Any).unwrap();
            }
            Act::Clear => self.table.0.clear(self.writer()).unwrap(),
            Act::ClearList => self.vector.0.clear(self.writer()).unwrap(),
            Act::OpenNested(key) => self.open_nested(key),
            Act::Append(count) => {
                let values: Vec<_> = (0..count)
                    .map(|number| Value::Plain(plain(number)))
                    .collect();
                self.append(&values);
            }
            Act::NestItem => self.append(&[Value::Nested]),
            Act::SetItem(place, length) => {
                let blob = self.blob(b"", &Value::Plain(plain(length)));
                let set = self.vector.set(self.writer(), place, &blob, Expect::Any);
                assert_eq!(set.unwrap(), Edited::Done);
            }
            Act::Pop => {
                let place = self
                    .vector
                    .get(self.member.arena, -1, &mut Copied::default());
                if let Some(place) = place {
                    let popped = self.vector.pop_last(self.writer(), place.word);
                    assert_eq!(popped.unwrap(), Edited::Done);
                }
            }
            Act::Insert(at, length) => {
                let blobs = [self.blob(b"", &Value::Plain(plain(length)))];
                self.edit(&blobs, |words| {
                    let after = (at..words.len()).map(old);
                    Some(
                        (0..at)
                            .map(old)
                            .chain([Item::New(0)])
                            .chain(after)
                            .collect(),
                    )
                });
            }
            Act::RemoveItem(at) => self.edit(&[], |words| {
                Some(
                    (0..words.len())
                        .filter(|place| *place != at)
                        .map(old)
                        .collect(),
                )
            }),
            Act::Reverse => self.edit(&[], |words| Some((0..words.len()).rev().map(old).collect())),
            Act::Sweep => {
                sweep::sweep(self.member).unwrap();
            }
        }
    }

    fn open_nested(&self, key: u8) {
        let key = [key];
        let mut copied = Copied::default();
        let place = self
            .table
            .get(
                self.member.arena,
                Key::new(self.member.arena, &key),
                &mut copied,
            )
            .unwrap();
        let is_there = || self.table.0.has(self.member.arena, place.cell, place.word);
        let opened = nested::open(self.member, &self.table.0, copied.named[0], is_there);
        let Opened::Object(object) = opened.unwrap() else {
            panic!("nobody takes it out");
        };
        object.drop_handle(self.member);
    }

    /// What both hold, as found without a lock, and without a sweep.
    fn read(&self) -> State {
        let value = |bytes: &[u8], named: &[Named]| match named {
            [] => Value::Plain(bytes.to_vec()),
            [(offset, serial)] => {
                let object = Object::find(self.member.arena, *offset, *serial).unwrap();
                let items = Vector(Container::of(self.member.arena, &object).unwrap());
                let mut item = Copied::default();
                items.get(self.member.arena, 0, &mut item).unwrap();
                assert_eq!(item.bytes, b"inside");
                Value::Nested
            }
            more => panic!("{} objects in a value", more.len()),
        };
        let mut state = State::default();
        let keys = self.table.0.snapshot(self.member, What::Keys).bytes;
        for key in keys {
            let mut copied = Copied::default();
            let bytes = [key];
            let found = Key::new(self.member.arena, &bytes);
            assert!(
                self.table
                    .get(self.member.arena, found, &mut copied)
                    .is_some()
            );
            state.dict.push((key, value(&copied.bytes, &copied.named)));
        }
        for place in 0..self.vector.length(self.member.arena) {
            let mut copied = Copied::default();
            let found = self
                .vector
                .get(self.member.arena, place as i64, &mut copied);
            assert!(found.is_some(), "item {place}");
            state.list.push(value(&copied.bytes, &copied.named));
        }
        state
    }
}

fn create(member: Member, kind: ObjectKind) -> Object {
    Object::create(member, kind, CONTAINER_BYTES, |_| Ok(())).unwrap()
}

/// The survivor, and what its containers may hold.
pub(crate) struct World {
    dict: Object,
    list: Object,
    party: Party,
    possible: Vec<State>,
}

const BEFORE: &[Act] = &[
    Act::Set(0, 10),
    Act::Set(1, 20),
    Act::Set(2, 130),
    Act::Nest(9),
    Act::Nest(8),
    Act::Append(4),
    Act::NestItem,
];

impl World {
    pub(crate) fn new() -> Self {
        // SAFETY: this process has one thread.
        unsafe { std::env::set_var("PROCESSION_ARENA", "64M") };
        let arena = Arena::create().unwrap();
        let member = arena.attach(Holdings::default()).unwrap();
        let dict = create(member, ObjectKind::Dict);
        let list = create(member, ObjectKind::List);
        let party = Party::of(member, &dict, &list);
        let mut state = State::default();
        for act in BEFORE {
            party.run(*act);
            state.apply(*act);
        }
        assert_eq!(party.read(), state);
        Self {
            dict,
            list,
            party,
            possible: vec![state],
        }
    }

    /// Forks a victim that makes changes and dies at a point.
    pub(crate) fn victim(&mut self, acts: &[Act], point: &str, count: u32) -> Ended {
        let ended = in_a_process(|| {
            let arena = self.party.member.arena;
            let member = arena.attach(Holdings::default()).unwrap();
            for object in [&self.dict, &self.list] {
                let _ = Object::open(member, object.offset, object.serial, |_| true).unwrap();
            }
            let party = Party::of(member, &self.dict, &self.list);
            die_at(point, count);
            for act in acts {
                party.run(*act);
            }
            0
        });
        if ended == HIT {
            self.possible = self
                .possible
                .iter()
                .flat_map(|state| after_some(state, acts))
                .collect();
        }
        ended
    }

    /// What a survivor finds and does; everything must be in order.
    pub(crate) fn survive(self) -> i32 {
        let found = self.party.read();
        assert!(self.possible.contains(&found), "found at once: {found:?}");
        sweep::sweep(self.party.member).unwrap();
        let swept = self.party.read();
        assert_eq!(swept, found, "a sweep changed what was there");
        self.check(&swept);
        let mut state = swept;
        let acts = [
            Act::Set(50, 40),
            Act::Nest(51),
            Act::Set(0, 3),
            Act::Delete(51),
            Act::Append(12),
            Act::Insert(2, 5),
            Act::Pop,
            Act::SetItem(0, 9),
            Act::Reverse,
        ];
        for act in acts {
            self.party.run(act);
            state.apply(act);
            assert_eq!(self.party.read(), state);
        }
        self.check(&state);
        self.end();
        0
    }

    fn check(&self, state: &State) {
        let report = fsck::fsck(self.party.member.arena).unwrap();
        assert!(report.inconsistent.is_empty(), "{:?}", report.inconsistent);
        assert!(report.leaked.is_empty(), "{:?}", report.leaked);
        assert_eq!(report.garbage, 0, "{report:?}");
        assert_eq!(report.objects, 2 + state.nested(), "{report:?}");
        let length = self.party.table.0.length();
        assert_eq!(length, state.dict.len() as u64);
    }

    /// The last handles go: nothing at all may be left.
    fn end(self) {
        let member = self.party.member;
        self.dict.drop_handle(member);
        self.list.drop_handle(member);
        member.trim();
        let report = fsck::fsck(member.arena).unwrap();
        let left = (report.objects, report.blocks, report.garbage);
        assert_eq!(left, (0, 0, 0), "{report:?}");
        let spans = member
            .arena
            .spans()
            .filter(|(_, state)| *state != SpanState::Free);
        assert_eq!(spans.count(), 0, "spans are left");
        assert!(report.leaked.is_empty() && report.inconsistent.is_empty());
    }
}

/// What a state may be when some of the acts, from the first on, have been done.
fn after_some(state: &State, acts: &[Act]) -> Vec<State> {
    let mut states = vec![state.clone()];
    let mut next = state.clone();
    for act in acts {
        next.apply(*act);
        states.push(next.clone());
    }
    states
}
