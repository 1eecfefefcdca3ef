//! Which futures the cyclic garbage collector looks at.
//!
//! A program may hold a million pending futures, and the collector would go through all of them
//! again and again. A pending future refers to no Python object, so it can be part of no cycle:
//! it is untracked when made, as the interpreter untracks tuples of numbers, and tracked from the
//! moment it refers to something (a result, an exception, a callback, an attribute).
#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The collector need not look at `object`, which refers to no other.
pub(crate) fn untrack<T>(object: &Bound<'_, T>) {
    // SAFETY: the pointer is a live object of a class with the collector's header: the classes
    // here have a `__traverse__`, which their subclasses inherit. The interpreter is attached.
    // Untracking twice is allowed.
    unsafe { ffi::PyObject_GC_UnTrack(object.as_ptr().cast()) };
}

/// The collector is to look at `object`, which has been given something to refer to.
pub(crate) fn track<T>(object: &Bound<'_, T>) {
    // SAFETY: as in `untrack`; what is tracked is not tracked again, and nobody else can have
    // done so between the two calls, which run no Python code.
    unsafe {
        if ffi::PyObject_GC_IsTracked(object.as_ptr()) == 0 {
            ffi::PyObject_GC_Track(object.as_ptr().cast());
        }
    }
}

/// Can `object` refer to others at all? Numbers, text and bytes can not.
pub(crate) fn may_refer(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the type of a live object is a live type; its flags are a plain word.
    let flags = unsafe { ffi::PyType_GetFlags(ffi::Py_TYPE(object.as_ptr())) };
    flags & ffi::Py_TPFLAGS_HAVE_GC != 0
}

/// Sets an attribute, or with `None` deletes it, as a class without `__setattr__` does.
pub(crate) fn set_attribute<T>(
    object: &Bound<'_, T>,
    name: &Bound<'_, PyString>,
    value: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let value = value.map_or(std::ptr::null_mut(), Bound::as_ptr);
    // SAFETY: all are live objects, or null for a deletion; references are borrowed only. The
    // interpreter is attached.
    match unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), name.as_ptr(), value) } {
        0 => Ok(()),
        _ => Err(PyErr::fetch(object.py())),
    }
}
