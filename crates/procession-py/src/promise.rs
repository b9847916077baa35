//! The state of a future, changed in one step to all threads of the interpreter, as long as nobody shares it.

use pyo3::intern;
use pyo3::prelude::*;

/// `future._state` from `before` (that very string) to `after`, if it is that and `_is_shared` is false; whether it was.
/// No bytecode runs in between, so with the GIL nobody comes in between.
#[pyfunction]
pub(crate) fn change_state(
    future: &Bound<'_, PyAny>,
    before: &Bound<'_, PyAny>,
    after: &Bound<'_, PyAny>,
) -> PyResult<bool> {
    let py = future.py();
    if future.getattr(intern!(py, "_is_shared"))?.is_truthy()?
        || !future.getattr(intern!(py, "_state"))?.is(before)
    {
        return Ok(false);
    }
    future.setattr(intern!(py, "_state"), after)?;
    Ok(true)
}
