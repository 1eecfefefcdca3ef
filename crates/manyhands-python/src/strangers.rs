//! Calls of the program's code from threads that the interpreter's end may find running.
//!
//! Up to CPython 3.13 a thread that asks for the interpreter's lock while that finalizes is ended
//! by pthread_exit(3) (PEP 788): its stack is unwound, which frames of Rust do not survive, and the
//! process aborts. (It need not ask for it here: the interpreter has Python code let go of the
//! lock every few milliseconds.) So the unwinding is let into these functions, where a guard stops
//! it: the thread stays there, asleep, until the process ends. CPython 3.14 does the same by
//! itself.
//!
//! Who declares no other value after the guard, and calls through these `C-unwind` declarations,
//! has no frame between the interpreter's and the guard. The calls are by pointers that the
//! optimizer cannot see through: pyo3 declares the same functions as such that never unwind, and
//! where the two declarations are merged (link-time optimization), the guard would be left out.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::hint::black_box;
use std::mem::{self, ManuallyDrop};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

type Call =
    unsafe extern "C-unwind" fn(*mut c_void, *mut c_void, *mut c_void) -> *mut pyo3::ffi::PyObject;

type Release = unsafe extern "C-unwind" fn(*mut c_void);

unsafe extern "C-unwind" {
    fn PyObject_Call(
        callable: *mut c_void,
        args: *mut c_void,
        kwargs: *mut c_void,
    ) -> *mut pyo3::ffi::PyObject;
    fn Py_DecRef(object: *mut c_void);
}

/// Dropped only when a stack is unwound: never lets that go on.
struct StayHere;

impl Drop for StayHere {
    fn drop(&mut self) {
        loop {
            std::thread::park();
        }
    }
}

/// `callable(*args, **kwargs)`.
pub(crate) fn call<'py>(
    callable: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: Option<&Bound<'py, PyDict>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = callable.py();
    let kwargs = kwargs.map_or(std::ptr::null_mut(), Bound::as_ptr);
    let native: Call = black_box(PyObject_Call);
    let guard = StayHere;
    // SAFETY: live objects, of which the second is a tuple and the third a dict or null; references
    // are borrowed only. The interpreter is attached. An unwinding is stopped by the guard.
    let result = unsafe {
        native(
            callable.as_ptr().cast(),
            args.as_ptr().cast(),
            kwargs.cast(),
        )
    };
    mem::forget(guard);
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, result) }
}

/// `object.name(*args)`.
pub(crate) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &str,
    args: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>, Error: Into<PyErr>>,
) -> PyResult<Bound<'py, PyAny>> {
    let args = args.into_pyobject(object.py()).map_err(Into::into)?;
    call(&object.getattr(name)?, &args, None)
}

/// Lets go of an object: its destructor may be the program's.
pub(crate) fn release<T>(object: Bound<'_, T>) {
    let object = ManuallyDrop::new(object);
    let native: Release = black_box(Py_DecRef);
    let guard = StayHere;
    // SAFETY: gives back the reference that was ours, which nobody drops any more. The interpreter
    // is attached. An unwinding is stopped by the guard.
    unsafe { native(object.as_ptr().cast()) };
    mem::forget(guard);
}
