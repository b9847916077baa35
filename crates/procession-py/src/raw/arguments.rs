//! Arguments as the interpreter hands them to fast methods.

use super::Object;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

pub(super) type Arguments<'py> = (Vec<Bound<'py, PyAny>>, Vec<(String, Bound<'py, PyAny>)>);

/// The arguments of a vectorcall, owned.
pub(super) fn arguments(
    py: Python<'_>,
    args: *const Object,
    count: usize,
    names: Object,
) -> PyResult<Arguments<'_>> {
    // SAFETY: null, or the tuple of names that the interpreter lends for this call.
    let names = unsafe { Bound::from_borrowed_ptr_or_opt(py, names) };
    let names: Vec<String> = names.map_or(Ok(Vec::new()), |names| names.extract())?;
    let all = (0..count + names.len()).map(|index| {
        // SAFETY: the interpreter lends `count` values and one for each name.
        let place = unsafe { args.add(index) };
        // SAFETY: a place of that array, initialised.
        let value = unsafe { place.read() };
        // SAFETY: a live object, lent for this call.
        unsafe { Bound::from_borrowed_ptr(py, value) }
    });
    let mut positional: Vec<_> = all.collect();
    let values = positional.split_off(count);
    Ok((positional, names.into_iter().zip(values).collect()))
}

/// Sorts the arguments of a method that takes these by position or by name.
pub(super) fn sort<'a, 'py, const N: usize>(
    method: &str,
    parameters: [&str; N],
    positional: &'a [Bound<'py, PyAny>],
    named: &'a [(String, Bound<'py, PyAny>)],
) -> PyResult<[Option<&'a Bound<'py, PyAny>>; N]> {
    if positional.len() > N {
        return Err(PyTypeError::new_err(format!(
            "{method}() takes at most {N} argument{} ({} given)",
            if N == 1 { "" } else { "s" },
            positional.len()
        )));
    }
    let mut sorted = std::array::from_fn(|index| positional.get(index));
    for (name, value) in named {
        let Some(index) = parameters.iter().position(|known| known == name) else {
            return Err(PyTypeError::new_err(format!(
                "{method}() got an unexpected keyword argument '{name}'"
            )));
        };
        if sorted[index].replace(value).is_some() {
            return Err(PyTypeError::new_err(format!(
                "argument for {method}() given by name ('{name}') and position ({})",
                index + 1
            )));
        }
    }
    Ok(sorted)
}
