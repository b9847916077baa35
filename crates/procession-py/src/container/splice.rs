//! What slices and places of a list come to, given its length.

use procession_core::vector::Item;

/// A slice as it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slice {
    pub(super) start: Option<i64>,
    pub(super) stop: Option<i64>,
    pub(super) step: i64,
}

/// The places that a slice means: the first, and how many.
struct Range {
    first: i64,
    count: usize,
}

impl Slice {
    /// As the interpreter adjusts slices.
    fn of(self, length: usize) -> Range {
        let length = length as i64;
        let (low, high) = if self.step < 0 {
            (-1, length - 1)
        } else {
            (0, length)
        };
        let clip = |bound: i64| {
            let bound = if bound < 0 {
                bound.saturating_add(length)
            } else {
                bound
            };
            bound.clamp(low, high)
        };
        let (from, to) = if self.step < 0 {
            (high, low)
        } else {
            (low, high)
        };
        let first = self.start.map_or(from, clip);
        let stop = self.stop.map_or(to, clip);
        let distance = if self.step < 0 {
            first - stop
        } else {
            stop - first
        };
        let count = if distance <= 0 {
            0
        } else {
            ((distance - 1) / self.step.saturating_abs() + 1) as usize
        };
        Range { first, count }
    }
}

fn old(range: std::ops::Range<usize>) -> impl Iterator<Item = Item> {
    range.map(|place| Item::Old(place as u64))
}

/// The items when the slice is replaced by `new` new ones; Err: how many there had to be.
pub(super) fn replaced(length: usize, slice: Slice, new: usize) -> Result<Vec<Item>, usize> {
    let range = slice.of(length);
    let fresh = (0..new).map(Item::New);
    if slice.step == 1 {
        let first = range.first as usize;
        let after = first + range.count;
        return Ok(old(0..first)
            .chain(fresh)
            .chain(old(after..length))
            .collect());
    }
    if range.count != new {
        return Err(range.count);
    }
    let mut items: Vec<Item> = old(0..length).collect();
    for (which, place) in places(&range, slice.step).enumerate() {
        items[place] = Item::New(which);
    }
    Ok(items)
}

/// The items without those of the slice.
pub(super) fn deleted(length: usize, slice: Slice) -> Vec<Item> {
    let range = slice.of(length);
    let mut keeps = vec![true; length];
    for place in places(&range, slice.step) {
        keeps[place] = false;
    }
    (0..length)
        .filter(|place| keeps[*place])
        .map(|place| Item::Old(place as u64))
        .collect()
}

fn places(range: &Range, step: i64) -> impl Iterator<Item = usize> + use<> {
    let first = range.first;
    (0..range.count).map(move |index| (first + index as i64 * step) as usize)
}
