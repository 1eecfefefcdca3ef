//! The tasks of this program, collected at link time.
//!
//! Parent and worker are the same executable, so both have the same registry. A task is named by
//! its path and its place in the source: two functions of different scopes may share a path.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;

use super::codec::{Encoded, Failure, Source};
use crate::board::Kind;

/// A coroutine in a worker, on its way to an encoded output.
pub type Running = Pin<Box<dyn Future<Output = Result<Encoded, Failure>>>>;

/// How a worker runs a task.
#[derive(Clone, Copy)]
pub enum Run {
    /// Decodes, calls, encodes.
    Function(fn(&Source<'_>) -> Result<Encoded, Failure>),
    /// Decodes, and begins a coroutine.
    Coroutine(fn(&Source<'_>) -> Result<Running, Failure>),
}

/// One task, as its static says.
pub struct Registration {
    name: &'static str,
    key: &'static str,
    run: Run,
    /// Its place in the registry of this process.
    index: OnceLock<usize>,
}

impl Registration {
    /// `name` is for people; `key` is the task's own.
    #[must_use]
    pub const fn new(name: &'static str, key: &'static str, run: Run) -> Self {
        let index = OnceLock::new();
        Self {
            name,
            key,
            run,
            index,
        }
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn key(&self) -> &'static str {
        self.key
    }

    pub(crate) fn run(&self) -> Run {
        self.run
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.run {
            Run::Function(_) => Kind::Function,
            Run::Coroutine(_) => Kind::Coroutine,
        }
    }

    /// Its place in the registry, below [`Registry::len`].
    pub(crate) fn index(&self) -> usize {
        registry();
        *self.index.get().expect("every registration is collected")
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("key", &self.key)
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

/// What the linker collects.
#[derive(Debug)]
pub struct Entry(pub &'static Registration);

inventory::collect!(Entry);

pub(crate) struct Registry {
    by_key: HashMap<&'static str, &'static Registration>,
}

impl Registry {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn find(&self, key: &str) -> Option<&'static Registration> {
        self.by_key.get(key).copied()
    }
}

/// All tasks of this program.
///
/// # Panics
/// Two tasks have the same name at the same place, as when one file is included twice.
pub(crate) fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| collect(inventory::iter::<Entry>().map(|entry| entry.0)))
}

fn collect(registrations: impl Iterator<Item = &'static Registration>) -> Registry {
    let mut by_key = HashMap::new();
    for registration in registrations {
        let index = by_key.len();
        assert!(
            by_key.insert(registration.key, registration).is_none(),
            "the task `{}` is defined twice at the same place ({}): a worker could not tell one \
             from the other; give one of them another name, or put the function where both uses \
             can reach it",
            registration.name,
            registration.key,
        );
        registration.index.get_or_init(|| index);
    }
    Registry { by_key }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_input: &Source<'_>) -> Result<Encoded, Failure> {
        Ok(Encoded::default())
    }

    static ONE: Registration = Registration::new("a::f", "a::f@1", Run::Function(nothing));
    static OTHER: Registration = Registration::new("a::f", "a::f@2", Run::Function(nothing));
    static AGAIN: Registration = Registration::new("a::f", "a::f@1", Run::Function(nothing));

    #[test]
    fn one_path_at_two_places_is_two_tasks() {
        let registry = collect([&ONE, &OTHER].into_iter());
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.find("a::f@2").unwrap().key(), "a::f@2");
        assert!(registry.find("a::f").is_none());
    }

    #[test]
    #[should_panic(expected = "the task `a::f` is defined twice")]
    fn one_path_twice_at_one_place_is_refused() {
        collect([&ONE, &OTHER, &AGAIN].into_iter());
    }
}
