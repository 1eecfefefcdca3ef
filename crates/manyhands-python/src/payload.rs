//! Python objects as bytes: pickle, with large buffers beside it (PEP 574).
//!
//! A task's input begins with a format byte: its shape, and whether buffers follow. Buffers lie
//! behind the pickle, each with the position of the argument that it is (a large `bytes`), or
//! none (an out-of-band buffer of the pickle). A result's format is the outcome's code.

mod decode;

use manyhands::arena::ArenaError;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyMemoryError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

pub(crate) use self::decode::{Call, decode_call, decode_result, load_all};
use crate::buffers::slice;

/// A `bytes` from this size on travels beside the pickle.
const LARGE: usize = 32 * 1024;

/// What a task's input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Shape {
    /// `args`
    Args = 0,
    /// `(args, kwargs)`
    ArgsKwargs = 1,
    /// `[args, …]`
    Batch = 2,
    /// `[argument, …]`: items with one argument each.
    BatchOfSingles = 3,
}

const BUFFERS: u8 = 0x80;

/// How a task ended, as the binding's code of an outcome.
pub(crate) mod code {
    /// A pickle.
    pub(crate) const PICKLE: u8 = 0;
    /// The bytes of a `bytes`.
    pub(crate) const BYTES: u8 = 1;
    /// A pickle and its buffers.
    pub(crate) const BUFFERS: u8 = 2;
    /// An exception's account of itself.
    pub(crate) const ERROR: u8 = 3;
    /// `None`, in no bytes.
    pub(crate) const NONE: u8 = 4;
}

struct Pickle {
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    protocol: Py<PyAny>,
}

fn pickle(py: Python<'_>) -> PyResult<&Pickle> {
    static PICKLE: PyOnceLock<Pickle> = PyOnceLock::new();
    PICKLE.get_or_try_init(py, || {
        let module = py.import("pickle")?;
        Ok(Pickle {
            dumps: module.getattr("dumps")?.unbind(),
            loads: module.getattr("loads")?.unbind(),
            protocol: PyInt::new(py, 5).into_any().unbind(),
        })
    })
}

/// Is it of a type that needs nothing but the plain pickler?
fn is_plain(value: &Bound<'_, PyAny>) -> bool {
    value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_none()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value
            .cast_exact::<PyBytes>()
            .is_ok_and(|bytes| bytes.as_bytes().len() < LARGE)
}

/// An encoded object: its pickle, and what lies beside it.
pub(crate) struct Encoded<'py> {
    pickle: Bound<'py, PyBytes>,
    buffers: Vec<(i32, PyBuffer<u8>)>,
    /// A task's format byte, if this is a task's input.
    first: Option<u8>,
}

impl<'py> Encoded<'py> {
    /// Calls `then` with the parts in order.
    pub(crate) fn with_parts<R>(&self, py: Python<'py>, then: impl FnOnce(&[&[u8]]) -> R) -> R {
        if self.buffers.is_empty() {
            return then(&[self.first.as_slice(), self.pickle.as_bytes()]);
        }
        let mut header = Vec::with_capacity(17 + 16 * self.buffers.len());
        header.extend(self.first.map(|first| first | BUFFERS));
        header.extend((self.buffers.len() as u64).to_le_bytes());
        header.extend((self.pickle.as_bytes().len() as u64).to_le_bytes());
        for (position, buffer) in &self.buffers {
            header.extend((buffer.len_bytes() as u64).to_le_bytes());
            header.extend(i64::from(*position).to_le_bytes());
        }
        let mut parts: Vec<&[u8]> = vec![&header, self.pickle.as_bytes()];
        parts.extend(self.buffers.iter().map(|(_, buffer)| slice(py, buffer)));
        then(&parts)
    }

    /// Are there buffers beside the pickle?
    pub(crate) fn has_buffers(&self) -> bool {
        !self.buffers.is_empty()
    }

    fn new(
        first: Option<u8>,
        pickle: Bound<'py, PyBytes>,
        buffers: Vec<(i32, PyBuffer<u8>)>,
    ) -> Self {
        Self {
            pickle,
            buffers,
            first,
        }
    }
}

/// How objects are pickled that the plain pickler may not know.
pub(crate) struct Pickling {
    /// Workers can not import the program's main module: its classes and functions go by value.
    pub(crate) main_by_value: bool,
}

impl Pickling {
    /// Pickles `value`; buffers that it offers go beside, but not if `by_value` is needed for
    /// what plain pickle can not ship. `what` names the value in an error.
    fn dumps<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        what: impl Fn() -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyBytes>, Vec<PyBuffer<u8>>)> {
        let py = value.py();
        let offered = PyList::empty(py);
        let callback = offered.getattr(intern!(py, "append"))?;
        let pickled = if self.main_by_value {
            let helper = helper(py)?.getattr(py, intern!(py, "dumps_by_value"))?;
            helper.bind(py).call1((value, callback, what()?))?
        } else {
            let kwargs = PyDict::new(py);
            kwargs.set_item(intern!(py, "protocol"), &pickle(py)?.protocol)?;
            kwargs.set_item(intern!(py, "buffer_callback"), &callback)?;
            match pickle(py)?.dumps.bind(py).call((value,), Some(&kwargs)) {
                Ok(pickled) => pickled,
                Err(_) => {
                    // The second try by value starts from nothing.
                    offered.call_method0(intern!(py, "clear"))?;
                    let helper = helper(py)?.getattr(py, intern!(py, "dumps_by_value"))?;
                    helper.bind(py).call1((value, callback, what()?))?
                }
            }
        };
        let buffers = offered
            .iter()
            .map(|offered| {
                let raw = offered.call_method0(intern!(py, "raw"))?;
                PyBuffer::get(&raw)
            })
            .collect::<PyResult<_>>()?;
        Ok((pickled.cast_into()?, buffers))
    }

    fn dumps_plain<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let pickle = pickle(py)?;
        Ok(pickle
            .dumps
            .bind(py)
            .call1((value, &pickle.protocol))?
            .cast_into()?)
    }

    /// Encodes the arguments of one call to `function`, which only an error names.
    pub(crate) fn encode_call<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Encoded<'py>> {
        let py = args.py();
        let kwargs = kwargs.filter(|kwargs| !kwargs.is_empty());
        let what = || Ok((function, args, kwargs, 0).into_pyobject(py)?.into_any());
        let Some(kwargs) = kwargs else {
            if args.iter().all(|arg| is_plain(&arg)) {
                let pickled = Self::dumps_plain(args.as_any())?;
                return Ok(Encoded::new(Some(Shape::Args as u8), pickled, Vec::new()));
            }
            let (args, mut buffers) = set_aside(args)?;
            let (pickled, offered) = self.dumps(args.as_any(), what)?;
            buffers.extend(offered.into_iter().map(|buffer| (-1, buffer)));
            return Ok(Encoded::new(Some(Shape::Args as u8), pickled, buffers));
        };
        let (args, mut buffers) = set_aside(args)?;
        let call = (args, kwargs).into_pyobject(py)?;
        let (pickled, offered) = self.dumps(call.as_any(), what)?;
        buffers.extend(offered.into_iter().map(|buffer| (-1, buffer)));
        Ok(Encoded::new(
            Some(Shape::ArgsKwargs as u8),
            pickled,
            buffers,
        ))
    }

    /// Encodes a batch: a list of argument tuples, or with `singles` of single arguments. `first`
    /// is the number of its first item, for the errors.
    pub(crate) fn encode_batch<'py>(
        &self,
        function: &Bound<'py, PyAny>,
        items: &Bound<'py, PyList>,
        singles: bool,
        first: usize,
    ) -> PyResult<Encoded<'py>> {
        let shape = if singles {
            Shape::BatchOfSingles
        } else {
            Shape::Batch
        } as u8;
        // A look at the first decides for all: a wrong guess costs speed, not correctness,
        // since what plain pickle can not ship goes the other way below.
        let plain = !self.main_by_value
            && match items.get_item(0)?.cast::<PyTuple>() {
                Ok(args) if !singles => args.iter().all(|arg| is_plain(&arg)),
                _ => is_plain(&items.get_item(0)?),
            };
        if plain && let Ok(pickled) = Self::dumps_plain(items.as_any()) {
            return Ok(Encoded::new(Some(shape), pickled, Vec::new()));
        }
        let py = items.py();
        let what = || {
            Ok((function, items, singles, first)
                .into_pyobject(py)?
                .into_any())
        };
        let (pickled, offered) = self.dumps(items.as_any(), what)?;
        let buffers = offered.into_iter().map(|buffer| (-1, buffer)).collect();
        Ok(Encoded::new(Some(shape), pickled, buffers))
    }
}

/// Takes large `bytes` out of the arguments, to travel beside the pickle.
#[allow(clippy::type_complexity)]
fn set_aside<'py>(
    args: &Bound<'py, PyTuple>,
) -> PyResult<(Bound<'py, PyTuple>, Vec<(i32, PyBuffer<u8>)>)> {
    let is_large = |arg: &Bound<'py, PyAny>| {
        arg.cast_exact::<PyBytes>()
            .is_ok_and(|bytes| bytes.as_bytes().len() >= LARGE)
    };
    if !args.iter().any(|arg| is_large(&arg)) {
        return Ok((args.clone(), Vec::new()));
    }
    let py = args.py();
    let mut buffers = Vec::new();
    let mut rest = Vec::with_capacity(args.len());
    for (position, arg) in args.iter().enumerate() {
        if is_large(&arg) {
            buffers.push((position as i32, PyBuffer::get(&arg)?));
            rest.push(py.None().into_bound(py));
        } else {
            rest.push(arg);
        }
    }
    Ok((PyTuple::new(py, rest)?, buffers))
}

/// The package's own module for what is better said in Python.
pub(crate) fn helper(py: Python<'_>) -> PyResult<&Py<PyModule>> {
    static HELPER: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    HELPER.get_or_try_init(py, || Ok(py.import("manyhands._pickling")?.unbind()))
}

/// A result, and the code it goes under.
pub(crate) enum ResultBytes<'py> {
    None,
    Bytes(Bound<'py, PyBytes>),
    Pickle(Encoded<'py>),
}

impl<'py> ResultBytes<'py> {
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::None => code::NONE,
            Self::Bytes(_) => code::BYTES,
            Self::Pickle(encoded) if encoded.has_buffers() => code::BUFFERS,
            Self::Pickle(_) => code::PICKLE,
        }
    }

    pub(crate) fn with_parts<R>(&self, py: Python<'py>, then: impl FnOnce(&[&[u8]]) -> R) -> R {
        match self {
            Self::None => then(&[]),
            Self::Bytes(bytes) => then(&[bytes.as_bytes()]),
            Self::Pickle(encoded) => encoded.with_parts(py, then),
        }
    }
}

/// Encodes a result.
pub(crate) fn encode_result<'py>(value: &Bound<'py, PyAny>) -> PyResult<ResultBytes<'py>> {
    let py = value.py();
    if value.is_none() {
        return Ok(ResultBytes::None);
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Ok(ResultBytes::Bytes(bytes.clone()));
    }
    if is_plain(value) {
        let pickled = Pickling::dumps_plain(value)?;
        return Ok(ResultBytes::Pickle(Encoded::new(None, pickled, Vec::new())));
    }
    let pickling = Pickling {
        main_by_value: false,
    };
    let (pickled, buffers) = pickling.dumps(value, || Ok(py.None().into_bound(py)))?;
    let buffers = buffers.into_iter().map(|buffer| (-1, buffer)).collect();
    Ok(ResultBytes::Pickle(Encoded::new(None, pickled, buffers)))
}

/// No room for a payload is Python's `MemoryError`.
pub(crate) fn no_room(error: ArenaError) -> PyErr {
    PyMemoryError::new_err(error.to_string())
}

/// The package's module of futures.
pub(crate) fn helper_of_futures(py: Python<'_>) -> PyResult<Bound<'_, PyModule>> {
    py.import(intern!(py, "manyhands._future"))
}
