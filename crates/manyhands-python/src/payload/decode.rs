//! Bytes as Python objects again.

use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::{BUFFERS, code, pickle};
use crate::buffers::Source;

/// `pickle.loads`, with what lies beside the pickle.
fn loads<'py>(
    py: Python<'py>,
    pickled: Bound<'py, PyBytes>,
    buffers: Option<Bound<'py, PyList>>,
) -> PyResult<Bound<'py, PyAny>> {
    let loads = pickle(py)?.loads.bind(py);
    match buffers {
        None => loads.call1((pickled,)),
        Some(buffers) => {
            let kwargs = PyDict::new(py);
            kwargs.set_item(intern!(py, "buffers"), buffers)?;
            loads.call((pickled,), Some(&kwargs))
        }
    }
}

/// What lies at `offset`: a pickle and its buffers, behind their header. Gives the object, and
/// the large `bytes` with their positions.
#[allow(clippy::type_complexity)]
fn decode_buffers<'py>(
    py: Python<'py>,
    source: &Source<'_>,
    offset: usize,
) -> PyResult<(Bound<'py, PyAny>, Vec<(usize, Bound<'py, PyBytes>)>)> {
    let number = |at: usize| -> PyResult<u64> {
        let mut bytes = [0; 8];
        source.copy(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let torn = || PyValueError::new_err("a payload's header does not agree with its size");
    let size = |at: usize| -> PyResult<usize> {
        let size = usize::try_from(number(at)?)?;
        if size <= source.len() {
            Ok(size)
        } else {
            Err(torn())
        }
    };
    let count = size(offset)?;
    let pickle_len = size(offset + 8)?;
    let table = offset + 16;
    let mut at = count
        .checked_mul(16)
        .and_then(|bytes| bytes.checked_add(table))
        .ok_or_else(torn)?;
    let pickled = source.bytes(py, at, pickle_len)?;
    at += pickle_len;
    let (in_pickle, mut aside) = (PyList::empty(py), Vec::new());
    for index in 0..count {
        let len = size(table + index * 16)?;
        match usize::try_from(number(table + index * 16 + 8)? as i64) {
            Ok(position) => aside.push((position, source.bytes(py, at, len)?)),
            Err(_) => in_pickle.append(source.bytearray(py, at, len)?)?,
        }
        at += len;
    }
    Ok((loads(py, pickled, Some(in_pickle))?, aside))
}

/// A task's input as Python objects.
pub(crate) enum Call<'py> {
    /// One call.
    One(Bound<'py, PyTuple>, Option<Bound<'py, PyDict>>),
    /// Calls with these argument tuples, or single arguments.
    Many(Bound<'py, PyList>, bool),
}

/// Decodes a task's input.
pub(crate) fn decode_call<'py>(py: Python<'py>, source: &Source<'_>) -> PyResult<Call<'py>> {
    let mut first = [0];
    source.copy(0, &mut first)?;
    let (value, aside) = if first[0] & BUFFERS != 0 {
        decode_buffers(py, source, 1)?
    } else {
        (
            loads(py, source.bytes(py, 1, source.len() - 1)?, None)?,
            Vec::new(),
        )
    };
    match first[0] & !BUFFERS {
        0 => Ok(Call::One(put_back(value.cast_into()?, aside)?, None)),
        1 => {
            let (args, kwargs): (Bound<'py, PyTuple>, Bound<'py, PyDict>) = value.extract()?;
            Ok(Call::One(put_back(args, aside)?, Some(kwargs)))
        }
        shape @ (2 | 3) => Ok(Call::Many(value.cast_into()?, shape == 3)),
        other => Err(PyValueError::new_err(format!(
            "unknown input format {other}"
        ))),
    }
}

fn put_back<'py>(
    args: Bound<'py, PyTuple>,
    aside: Vec<(usize, Bound<'py, PyBytes>)>,
) -> PyResult<Bound<'py, PyTuple>> {
    if aside.is_empty() {
        return Ok(args);
    }
    let mut all: Vec<Bound<'py, PyAny>> = args.iter().collect();
    for (position, bytes) in aside {
        *all.get_mut(position)
            .ok_or_else(|| PyValueError::new_err("no such argument"))? = bytes.into_any();
    }
    PyTuple::new(args.py(), all)
}

/// Decodes a result that is no error.
pub(crate) fn decode_result<'py>(
    py: Python<'py>,
    code: u8,
    source: &Source<'_>,
) -> PyResult<Bound<'py, PyAny>> {
    match code {
        code::NONE => Ok(py.None().into_bound(py)),
        code::BYTES => Ok(source.bytes(py, 0, source.len())?.into_any()),
        code::PICKLE => loads(py, source.bytes(py, 0, source.len())?, None),
        code::BUFFERS => Ok(decode_buffers(py, source, 0)?.0),
        other => Err(PyValueError::new_err(format!(
            "unknown result format {other}"
        ))),
    }
}

/// `pickle.loads` of a whole payload.
pub(crate) fn load_all<'py>(py: Python<'py>, source: &Source<'_>) -> PyResult<Bound<'py, PyAny>> {
    loads(py, source.bytes(py, 0, source.len())?, None)
}
