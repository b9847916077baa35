//! The scalars of ctypes, as bits of a cell: conversions and exceptions are ctypes' own.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyString};

/// A simple type of ctypes by its code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scalar {
    Bool,
    Char,
    WideChar,
    Signed(u32),
    Unsigned(u32),
    Float,
    Double,
}

impl Scalar {
    /// The type behind `ctype._type_`.
    pub(crate) fn of_code(code: char) -> Option<Self> {
        Some(match code {
            '?' => Self::Bool,
            'c' => Self::Char,
            'u' => Self::WideChar,
            'b' => Self::Signed(8),
            'B' => Self::Unsigned(8),
            'h' => Self::Signed(16),
            'H' => Self::Unsigned(16),
            'i' => Self::Signed(32),
            'I' => Self::Unsigned(32),
            'l' | 'q' => Self::Signed(64),
            'L' | 'Q' => Self::Unsigned(64),
            'f' => Self::Float,
            'd' => Self::Double,
            _ => return None,
        })
    }

    /// Bytes of the cell that the type uses.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::Bool | Self::Char => 1,
            Self::WideChar | Self::Float => 4,
            Self::Signed(bits) | Self::Unsigned(bits) => bits as usize / 8,
            Self::Double => 8,
        }
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.size() * 8)
    }

    /// The bits of a value, as ctypes would store it: integers wrap.
    pub(crate) fn encode(self, code: char, value: &Bound<'_, PyAny>) -> PyResult<u64> {
        let bits = match self {
            Self::Bool => return Ok(u64::from(value.is_truthy()?)),
            Self::Signed(_) | Self::Unsigned(_) => integer_bits(value)?,
            Self::Double => value.extract::<f64>().ok().map(f64::to_bits),
            Self::Float => value
                .extract::<f64>()
                .ok()
                .map(|x| u64::from((x as f32).to_bits())),
            Self::Char => char_bits(value),
            Self::WideChar => wide_char_bits(value),
        };
        match bits {
            Some(bits) => Ok(bits & self.mask()),
            None => Err(refusal_of_ctypes(code, value)),
        }
    }

    /// The Python value of the bits.
    pub(crate) fn decode(self, py: Python<'_>, bits: u64) -> Py<PyAny> {
        let bits = bits & self.mask();
        if let Some(integer) = self.as_integer(bits) {
            return PyInt::new(py, integer).into_any().unbind();
        }
        if let Some(float) = self.as_float(bits) {
            return PyFloat::new(py, float).into_any().unbind();
        }
        match self {
            Self::Bool => PyBool::new(py, bits != 0).to_owned().into_any().unbind(),
            Self::Char => PyBytes::new(py, &[bits as u8]).into_any().unbind(),
            Self::WideChar => {
                let found = char::from_u32(bits as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                PyString::new(py, found.encode_utf8(&mut [0; 4]))
                    .into_any()
                    .unbind()
            }
            // What is left are unsigned integers that no i64 holds.
            _ => PyInt::new(py, bits).into_any().unbind(),
        }
    }

    /// The bits as a number, for integer types whose values all fit an i64.
    pub(crate) fn as_integer(self, bits: u64) -> Option<i64> {
        match self {
            Self::Signed(width) => {
                let shift = 64 - width;
                Some((bits << shift) as i64 >> shift)
            }
            Self::Unsigned(width) if width < 64 => Some((bits & self.mask()) as i64),
            _ => None,
        }
    }

    /// The bits as a number, for floating types.
    pub(crate) fn as_float(self, bits: u64) -> Option<f64> {
        match self {
            Self::Double => Some(f64::from_bits(bits)),
            Self::Float => Some(f64::from(f32::from_bits(bits as u32))),
            _ => None,
        }
    }

    /// The bits of an int, for integer types: it wraps.
    pub(crate) fn bits_of_integer(self, value: i64) -> Option<u64> {
        matches!(self, Self::Signed(_) | Self::Unsigned(_)).then_some(value as u64 & self.mask())
    }

    /// The bits of a float, for floating types.
    pub(crate) fn bits_of_float(self, value: f64) -> Option<u64> {
        match self {
            Self::Double => Some(value.to_bits()),
            Self::Float => Some(u64::from((value as f32).to_bits())),
            _ => None,
        }
    }

    /// The sum of two values' bits; None for types without arithmetic.
    pub(crate) fn add(self, a: u64, b: u64) -> Option<u64> {
        match self {
            Self::Signed(_) | Self::Unsigned(_) => Some(a.wrapping_add(b) & self.mask()),
            Self::Double => Some((f64::from_bits(a) + f64::from_bits(b)).to_bits()),
            Self::Float => {
                let (a, b) = (f32::from_bits(a as u32), f32::from_bits(b as u32));
                Some(u64::from((a + b).to_bits()))
            }
            Self::Bool | Self::Char | Self::WideChar => None,
        }
    }

    /// Whether two values' bits are equal as numbers.
    pub(crate) fn equal(self, a: u64, b: u64) -> bool {
        #[expect(
            clippy::float_cmp,
            reason = "compare-and-exchange means ==, as Python does"
        )]
        match self {
            Self::Double => f64::from_bits(a) == f64::from_bits(b),
            Self::Float => f32::from_bits(a as u32) == f32::from_bits(b as u32),
            _ => a & self.mask() == b & self.mask(),
        }
    }
}

fn integer_bits(value: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    let Ok(value) = value.cast::<PyInt>() else {
        return Ok(None);
    };
    if let Ok(small) = value.extract::<i64>() {
        return Ok(Some(small as u64));
    }
    value
        .call_method1("__and__", (u64::MAX,))?
        .extract()
        .map(Some)
}

fn char_bits(value: &Bound<'_, PyAny>) -> Option<u64> {
    if let Ok(small) = value.extract::<u8>() {
        return Some(u64::from(small));
    }
    // bytes and bytearray of length one.
    let bytes: Vec<u8> = value.extract().ok()?;
    match bytes[..] {
        [byte] if !value.is_instance_of::<PyString>() => Some(u64::from(byte)),
        _ => None,
    }
}

fn wide_char_bits(value: &Bound<'_, PyAny>) -> Option<u64> {
    let text: String = value.cast::<PyString>().ok()?.extract().ok()?;
    let mut characters = text.chars();
    let first = characters.next()?;
    characters
        .next()
        .is_none()
        .then_some(u64::from(u32::from(first)))
}

/// The exception that ctypes itself raises for this value: its texts differ by version.
fn refusal_of_ctypes(code: char, value: &Bound<'_, PyAny>) -> PyErr {
    let name = match code {
        '?' => "c_bool",
        'c' => "c_char",
        'u' => "c_wchar",
        'b' => "c_byte",
        'B' => "c_ubyte",
        'h' => "c_short",
        'H' => "c_ushort",
        'i' => "c_int",
        'I' => "c_uint",
        'l' | 'q' => "c_long",
        'L' | 'Q' => "c_ulong",
        'f' => "c_float",
        _ => "c_double",
    };
    let refused = value
        .py()
        .import("ctypes")
        .and_then(|ctypes| ctypes.getattr(name)?.call1((value,)));
    match refused {
        Err(error) => error,
        Ok(_) => PyTypeError::new_err(format!("{value:?} does not fit {name}")),
    }
}
