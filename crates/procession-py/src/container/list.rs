//! The list.
#![expect(
    clippy::used_underscore_binding,
    reason = "the leading underscore is part of the argument's Python name"
)]

use super::Shared;
use super::iterate::Members;
use super::splice::{self, Slice};
use crate::handle::{Travelling, open_as};
use procession_core::ObjectKind;
use procession_core::blob::Blob;
use procession_core::nested;
use procession_core::snapshot::What;
use procession_core::table::{Copied, Expect};
use procession_core::vector::{Edited, Item, Vector};
use procession_shm::member::Member;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyList, PySlice, PyTuple, PyType};

/// A sequence that every process of the family reads and writes.
#[pyclass(subclass, frozen, weakref, module = "procession._native")]
pub(crate) struct List {
    pub(super) shared: Shared,
}

enum Index {
    Place(i64),
    Slice(Slice),
}

fn index(key: &Bound<'_, PyAny>) -> PyResult<Index> {
    if let Ok(slice) = key.cast::<PySlice>() {
        let bound = |name: &str| -> PyResult<Option<i64>> {
            let bound = slice.getattr(name)?;
            if bound.is_none() {
                return Ok(None);
            }
            clipped(&bound).map(Some)
        };
        let step = bound("step")?.unwrap_or(1);
        if step == 0 {
            return Err(PyValueError::new_err("slice step cannot be zero"));
        }
        return Ok(Index::Slice(Slice {
            start: bound("start")?,
            stop: bound("stop")?,
            step: step.max(-i64::MAX),
        }));
    }
    let number = key.call_method0("__index__").map_err(|_| {
        let class = key.get_type();
        let name = class
            .name()
            .map_or_else(|_| String::new(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "list indices must be integers or slices, not {name}"
        ))
    })?;
    let place = number.extract::<i64>();
    Ok(Index::Place(place.unwrap_or(i64::MAX)))
}

/// An integer, or the end of the scale that it lies beyond.
fn clipped(bound: &Bound<'_, PyAny>) -> PyResult<i64> {
    let number = bound.call_method0("__index__").map_err(|_| {
        PyTypeError::new_err("slice indices must be integers or None or have an __index__ method")
    })?;
    match number.extract() {
        Ok(number) => Ok(number),
        Err(_) if number.lt(0)? => Ok(-i64::MAX),
        Err(_) => Ok(i64::MAX),
    }
}

fn outside(what: &str) -> PyErr {
    PyIndexError::new_err(what.to_owned())
}

impl List {
    #[inline]
    fn core(&self) -> Vector {
        Vector(self.shared.container)
    }

    fn blobs(&self, member: Member, values: &Bound<'_, PyList>) -> PyResult<Vec<Blob>> {
        let mut blobs = Vec::with_capacity(values.len());
        for value in values.iter() {
            match self.shared.blob(member, b"", None, &value) {
                Ok(blob) => blobs.push(blob),
                Err(error) => {
                    discard(member, &blobs);
                    return Err(error);
                }
            }
        }
        Ok(blobs)
    }

    /// Makes the list what `plan` makes of its words; the blobs go in, or away.
    fn edit(
        slf: &Bound<'_, Self>,
        member: Member,
        blobs: &[Blob],
        mut plan: impl FnMut(&[u64]) -> Option<Vec<Item>>,
    ) -> PyResult<Edited> {
        let this = slf.get();
        let edited = Shared::change(slf.as_any(), member, |writer| {
            this.core().edit(writer, blobs, &mut plan)
        });
        if !matches!(edited, Ok(Edited::Done)) {
            discard(member, blobs);
        }
        edited
    }

    fn replace(slf: &Bound<'_, Self>, slice: Slice, values: &Bound<'_, PyList>) -> PyResult<()> {
        let member = slf.get().shared.member(slf.py())?;
        let blobs = slf.get().blobs(member, values)?;
        let mut wanted = None;
        let edited = Self::edit(slf, member, &blobs, |words| {
            splice::replaced(words.len(), slice, values.len().min(blobs.len()))
                .inspect_err(|count| wanted = Some(*count))
                .ok()
        })?;
        match (edited, wanted) {
            (Edited::Done, _) | (_, None) => Ok(()),
            (_, Some(count)) => Err(PyValueError::new_err(format!(
                "attempt to assign sequence of size {} to extended slice of size {count}",
                blobs.len()
            ))),
        }
    }

    /// Takes the item with this word out, wherever it is now; false: it is gone.
    fn remove(slf: &Bound<'_, Self>, member: Member, at: u64, word: u64) -> PyResult<bool> {
        let edited = Self::edit(slf, member, &[], |words| {
            let place = if words.get(at as usize) == Some(&word) {
                at as usize
            } else {
                words.iter().position(|other| *other == word)?
            };
            let kept = (0..words.len()).filter(|other| *other != place);
            Some(kept.map(|place| Item::Old(place as u64)).collect())
        })?;
        Ok(edited == Edited::Done)
    }
}

fn discard(member: Member, blobs: &[Blob]) {
    for blob in blobs {
        nested::discard(member, blob);
    }
}

#[pymethods]
impl List {
    #[new]
    #[pyo3(signature = (*_args, _handle = None))]
    fn new(
        py: Python<'_>,
        _args: &Bound<'_, PyTuple>,
        _handle: Option<Travelling>,
    ) -> PyResult<Self> {
        let shared = Shared::new(py, ObjectKind::List, _handle)?;
        Ok(Self { shared })
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        let member = self.shared.member(py)?;
        Ok(self.core().length(member.arena) as usize)
    }

    fn __getitem__<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let member = this.shared.member(py)?;
        match index(key)? {
            Index::Place(place) => {
                let find = |into: &mut Copied| this.core().get(member.arena, place, into);
                let found = this.shared.read(py, member, find)?;
                found
                    .map(|(value, _)| value)
                    .ok_or_else(|| outside("list index out of range"))
            }
            Index::Slice(_) => {
                let all = Members::of(py, &this.shared, member, What::Values, false)?;
                let places = key.cast::<PySlice>()?.indices(all.len() as isize)?;
                if places.slicelength == all.len() && places.step == 1 {
                    return Ok(all.rest(py)?.into_any());
                }
                let chosen = (0..places.slicelength as isize)
                    .map(|index| all.item(py, (places.start + index * places.step) as usize));
                let chosen: Vec<_> = chosen.collect::<PyResult<_>>()?;
                Ok(PyList::new(py, chosen)?.into_any())
            }
        }
    }

    fn __setitem__(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let place = match index(key)? {
            Index::Place(place) => place,
            Index::Slice(slice) => {
                let values = py.get_type::<PyList>().call1((value,)).map_err(|error| {
                    if error.is_instance_of::<PyTypeError>(py) {
                        PyTypeError::new_err("can only assign an iterable")
                    } else {
                        error
                    }
                })?;
                return Self::replace(slf, slice, values.cast::<PyList>()?);
            }
        };
        let member = this.shared.member(py)?;
        let blob = this.shared.blob(member, b"", None, value)?;
        let set = |writer| this.core().set(writer, place, &blob, Expect::Any);
        let is_in = |edited: &Edited| *edited == Edited::Done;
        match Shared::put_blob(slf.as_any(), member, &blob, set, is_in)? {
            Edited::Done => Ok(()),
            _ => Err(outside("list assignment index out of range")),
        }
    }

    fn __delitem__(slf: &Bound<'_, Self>, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let member = slf.get().shared.member(slf.py())?;
        let slice = match index(key)? {
            Index::Slice(slice) => slice,
            Index::Place(place) => {
                let edited = Self::edit(slf, member, &[], |words| {
                    let length = words.len() as i64;
                    let place = if place < 0 { place + length } else { place };
                    let there = (0..length).contains(&place);
                    let slice = Slice {
                        start: Some(place),
                        stop: Some(place.saturating_add(1)),
                        step: 1,
                    };
                    there.then(|| splice::deleted(words.len(), slice))
                })?;
                return match edited {
                    Edited::Done => Ok(()),
                    _ => Err(outside("list assignment index out of range")),
                };
            }
        };
        let plan = |words: &[u64]| Some(splice::deleted(words.len(), slice));
        Self::edit(slf, member, &[], plan).map(|_| ())
    }

    fn append(slf: &Bound<'_, Self>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let this = slf.get();
        let member = this.shared.member(slf.py())?;
        let blob = this.shared.blob(member, b"", None, value)?;
        let append = |writer| this.core().append(writer, &[blob]);
        Shared::put_blob(slf.as_any(), member, &blob, append, |()| true)
    }

    /// Appends all of a plain list at once.
    fn _extend(slf: &Bound<'_, Self>, values: &Bound<'_, PyList>) -> PyResult<()> {
        let this = slf.get();
        let member = this.shared.member(slf.py())?;
        let blobs = this.blobs(member, values)?;
        if blobs.is_empty() {
            return Ok(());
        }
        let append = |writer| this.core().append(writer, &blobs);
        Shared::change(slf.as_any(), member, append).inspect_err(|_| discard(member, &blobs))
    }

    fn insert(
        slf: &Bound<'_, Self>,
        index: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let place = clipped(index)?;
        let slice = Slice {
            start: Some(place),
            stop: Some(place),
            step: 1,
        };
        Self::replace(slf, slice, &PyList::new(slf.py(), [value])?)
    }

    #[pyo3(signature = (index = -1, /), text_signature = "($self, index=-1, /)")]
    fn pop<'py>(slf: &Bound<'py, Self>, index: i64) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        let member = this.shared.member(py)?;
        loop {
            let mut length = 0;
            let find = |into: &mut Copied| {
                length = this.core().length(member.arena);
                this.core().get(member.arena, index, into)
            };
            let Some((value, place)) = this.shared.read(py, member, find)? else {
                let empty = length == 0;
                let what = if empty {
                    "pop from empty list"
                } else {
                    "pop index out of range"
                };
                return Err(outside(what));
            };
            let gone = if index == -1 {
                let pop = |writer| this.core().pop_last(writer, place.word);
                Shared::change(slf.as_any(), member, pop)? == Edited::Done
            } else {
                Self::remove(slf, member, place.cell, place.word)?
            };
            if gone {
                return Ok(value);
            }
        }
    }

    /// Takes an item out that an iteration has met; false: it is gone.
    fn _remove(slf: &Bound<'_, Self>, index: u64, word: u64) -> PyResult<bool> {
        let member = slf.get().shared.member(slf.py())?;
        Self::remove(slf, member, index, word)
    }

    /// Brings the items into another order, if they still are those with these words.
    #[expect(clippy::needless_pass_by_value, reason = "made from Python's list")]
    fn _permute(slf: &Bound<'_, Self>, words: Vec<u64>, order: Vec<usize>) -> PyResult<bool> {
        let member = slf.get().shared.member(slf.py())?;
        let mut sorted = order.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..words.len()) {
            return Err(PyValueError::new_err("this is no order of the items"));
        }
        let edited = Self::edit(slf, member, &[], |now| {
            let all = order.iter().map(|place| Item::Old(*place as u64));
            (now == words).then(|| all.collect())
        })?;
        Ok(edited == Edited::Done)
    }

    fn reverse(slf: &Bound<'_, Self>) -> PyResult<()> {
        let member = slf.get().shared.member(slf.py())?;
        let plan = |words: &[u64]| {
            let all = (0..words.len()).rev();
            Some(all.map(|place| Item::Old(place as u64)).collect())
        };
        Self::edit(slf, member, &[], plan).map(|_| ())
    }

    fn clear(slf: &Bound<'_, Self>) -> PyResult<()> {
        let this = slf.get();
        let member = this.shared.member(slf.py())?;
        Shared::change(slf.as_any(), member, |writer| {
            this.shared.container.clear(writer)
        })
    }

    /// Iterates over the items.
    fn _iterate(&self, py: Python<'_>, reverse: bool) -> PyResult<Members> {
        let member = self.shared.member(py)?;
        Members::of(py, &self.shared, member, What::Values, reverse)
    }

    fn _settle(&self, py: Python<'_>) -> PyResult<()> {
        let member = self.shared.member(py)?;
        self.shared.container.settle(member);
        Ok(())
    }

    fn _handle(&self) -> Travelling {
        self.shared.handle.travelling()
    }

    fn _pin(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.handle.pin(py)
    }

    #[classmethod]
    fn _open<'py>(
        cls: &Bound<'py, PyType>,
        handle: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        open_as(cls, handle)
    }
}
