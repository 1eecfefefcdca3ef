//! The functions that a pool has shipped: each definition goes to the workers once.
//!
//! Functions, built-in functions and classes are known by identity for as long as they live.
//! What travels by value may change between two calls (a closure's variables, the globals that a
//! lambda uses), so it is pickled at each call and shipped again when its pickle is another. Other
//! callables (bound methods, partials) are shipped at each call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use manyhands::Kind;
use manyhands::process::Function;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyFunction, PyType, PyWeakrefMethods, PyWeakrefReference};

use crate::outcome::submit_error;
use crate::payload::helper;
use crate::pool::Core;

/// A shipped function.
pub(crate) struct Shipped {
    pub(crate) function: Arc<Function>,
    pub(crate) kind: Kind,
    /// `module.qualname`, for people.
    pub(crate) name: String,
}

struct Known {
    object: Py<PyWeakrefReference>,
    shipped: Arc<Shipped>,
    /// Its pickle, if that may change.
    pickled: Option<Py<PyBytes>>,
}

/// A function as `_pickling.define` describes it.
struct Defined<'py> {
    pickled: Bound<'py, PyBytes>,
    is_coroutine: bool,
    name: String,
    may_change: bool,
}

/// See the module's documentation.
#[derive(Default)]
pub(crate) struct Functions {
    known: Mutex<HashMap<usize, Known>>,
}

/// From this many on, entries of functions that are gone are looked for before one is added.
const CROWDED: usize = 64;

/// Does it do the same whenever it is called, as far as its definition goes? A built-in method of
/// an object (`get` of one `dict`) does not: it travels with its object.
fn is_constant(callable: &Bound<'_, PyAny>) -> PyResult<bool> {
    if callable.is_exact_instance_of::<PyCFunction>() {
        let owner = callable.getattr(intern!(callable.py(), "__self__"))?;
        return Ok(owner.is_none() || owner.is_instance_of::<PyModule>());
    }
    Ok(callable.is_exact_instance_of::<PyFunction>() || callable.is_instance_of::<PyType>())
}

impl Functions {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<usize, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function as shipped, at the first call or for a changing callable by shipping it.
    pub(crate) fn ship(
        &self,
        core: &Core,
        callable: &Bound<'_, PyAny>,
        main_by_value: bool,
    ) -> PyResult<Arc<Shipped>> {
        if !is_constant(callable)? {
            return register(core, define(callable, main_by_value)?, callable.py());
        }
        let py = callable.py();
        let identity = callable.as_ptr() as usize;
        let known = self.lock().get(&identity).and_then(|known| {
            let same = known
                .object
                .bind(py)
                .upgrade()
                .is_some_and(|object| object.is(callable));
            same.then(|| {
                (
                    known.shipped.clone(),
                    known.pickled.as_ref().map(|pickled| pickled.clone_ref(py)),
                )
            })
        });
        if let Some((shipped, None)) = known {
            return Ok(shipped);
        }
        let defined = define(callable, main_by_value)?;
        if let Some((shipped, Some(pickled))) = known
            && pickled.as_bytes(py) == defined.pickled.as_bytes()
        {
            return Ok(shipped);
        }
        let pickled = defined.may_change.then(|| defined.pickled.clone().unbind());
        let shipped = register(core, defined, py)?;
        let object = PyWeakrefReference::new(callable)?.unbind();
        let mut gone = Vec::new();
        {
            let mut known = self.lock();
            if known.len() >= CROWDED && known.len().is_power_of_two() {
                let dead = |entry: &Known| entry.object.bind(py).upgrade().is_none();
                let keys: Vec<_> = known
                    .iter()
                    .filter(|(_, entry)| dead(entry))
                    .map(|(key, _)| *key)
                    .collect();
                gone.extend(keys.iter().filter_map(|key| known.remove(key)));
            }
            gone.extend(known.insert(
                identity,
                Known {
                    object,
                    shipped: shipped.clone(),
                    pickled,
                },
            ));
        }
        // Python objects go without the lock.
        drop(gone);
        Ok(shipped)
    }
}

fn define<'py>(callable: &Bound<'py, PyAny>, main_by_value: bool) -> PyResult<Defined<'py>> {
    let py = callable.py();
    let define = helper(py)?.getattr(py, intern!(py, "define"))?;
    let (pickled, is_coroutine, name, may_change) = define
        .bind(py)
        .call1((callable, main_by_value))?
        .extract()?;
    Ok(Defined {
        pickled,
        is_coroutine,
        name,
        may_change,
    })
}

fn register(core: &Core, defined: Defined<'_>, py: Python<'_>) -> PyResult<Arc<Shipped>> {
    let Defined {
        pickled,
        is_coroutine,
        name,
        ..
    } = defined;
    let function = core
        .pool
        .register(&[pickled.as_bytes()])
        .map_err(|error| submit_error(py, core, &error))?;
    let kind = if is_coroutine {
        Kind::Coroutine
    } else {
        Kind::Function
    };
    Ok(Arc::new(Shipped {
        function,
        kind,
        name,
    }))
}
