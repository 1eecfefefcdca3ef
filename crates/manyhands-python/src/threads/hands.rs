//! What the threads of a pool do: Python's calls, one after the other.
//!
//! A thread that has the interpreter keeps it while there are tasks, and lets go of it to wait.
//! (The interpreter itself makes a thread give way to others that ask for it.)

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use manyhands::Panic;
use manyhands::task::Waiter;
use manyhands::thread::{Life, Source, Unavailable, Worker};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::alive::{Alive, OneMore};
use super::bells::Bells;
use super::job::Job;
use super::waiting::Ending;
use crate::future::Teller;
use crate::outcome::build;
use crate::strangers;
use crate::turns::Turns;

/// Why a pool's threads cannot be set up.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// The initializer raised; that has been logged.
    Initializer,
    /// A defect of this crate.
    Panic(Panic),
}

impl From<Panic> for Failure {
    fn from(panic: Panic) -> Self {
        Self::Panic(panic)
    }
}

/// What each thread calls first, and its arguments, until there will be no thread any more. It may
/// lead back to the pool, and would keep it for ever.
#[derive(Default)]
pub(crate) struct Initializer(Mutex<Option<(Py<PyAny>, Py<PyTuple>)>>);

impl Initializer {
    pub(crate) fn new(initializer: Option<(Py<PyAny>, Py<PyTuple>)>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(initializer)))
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Py<PyAny>, Py<PyTuple>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No thread will call it any more.
    pub(crate) fn let_go(&self) {
        let initializer = self.lock().take();
        drop(initializer);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &*self.lock() {
            Some((initializer, args)) => {
                visit.call(initializer)?;
                visit.call(args)
            }
            None => Ok(()),
        }
    }
}

/// See the module's documentation.
pub(crate) struct Hands {
    /// `start(name, run)` starts a `threading.Thread`.
    pub(crate) starter: Py<PyAny>,
    pub(crate) initializer: Arc<Initializer>,
    /// The package's module of what threads need of it (`manyhands._threads`).
    pub(crate) package: Py<PyAny>,
    /// Tasks after which a thread makes room for a fresh one.
    pub(crate) max_tasks: u64,
    pub(crate) alive: Arc<Alive>,
}

impl Worker for Hands {
    type Job = Job;
    type Failure = Failure;

    fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Failure> {
        Python::attach(|py| {
            self.initialize(py)?;
            self.live(py, source);
            Ok(())
        })
    }

    fn start(&self, life: Life<Self>) -> io::Result<Option<JoinHandle<()>>> {
        let started = Python::try_attach(|py| -> PyResult<()> {
            let name = life.name().to_owned();
            let counted = self.alive.one_more();
            let body = ThreadBody {
                life: Mutex::new(Some((life, counted))),
                alive: self.alive.clone(),
                initializer: self.initializer.clone(),
            };
            let body = Bound::new(py, body)?;
            let args = (name, &body).into_pyobject(py)?;
            let called = strangers::call(self.starter.bind(py), &args, None);
            let Err(error) = called else { return Ok(()) };
            // It may live on in a traceback: if nobody has begun it by now, nobody will.
            match body.get().take() {
                Some(unrun) => {
                    drop(unrun);
                    Err(error)
                }
                // Ctrl-C came when the thread was there already.
                None => {
                    Submission::interrupted(error, self.starter.bind(py));
                    Ok(())
                }
            }
        });
        match started {
            Some(Ok(())) => Ok(None),
            Some(Err(error)) => Err(io::Error::other(error)),
            None => Err(io::Error::other("the interpreter is ending")),
        }
    }

    fn abandon(&self, job: Job, why: &Unavailable<Failure>) {
        Python::attach(|py| {
            let error = build(self.package.bind(py), "broken", (text(why),));
            job.abandon(py, error);
        });
    }
}

/// Why tasks are not run, for people.
pub(crate) fn text(why: &Unavailable<Failure>) -> String {
    match why {
        Unavailable::Broken(Failure::Initializer) => {
            "A thread initializer failed, the thread pool is not usable anymore".into()
        }
        Unavailable::Broken(Failure::Panic(panic)) => {
            format!("a thread of the pool {panic}; the pool is not usable any more")
        }
        Unavailable::Start(error) => format!("no thread could be started: {error}"),
        Unavailable::Closed => "the thread pool is shut down".into(),
        _ => "the thread pool runs nothing more".into(),
    }
}

impl Hands {
    fn initialize(&self, py: Python<'_>) -> Result<(), Failure> {
        let Some((initializer, args)) = self
            .initializer
            .lock()
            .as_ref()
            .map(|(initializer, args)| (initializer.clone_ref(py), args.clone_ref(py)))
        else {
            return Ok(());
        };
        let Err(error) = strangers::call(initializer.bind(py), args.bind(py), None) else {
            return Ok(());
        };
        let error = error.into_value(py);
        let package = self.package.bind(py);
        if let Err(other) = strangers::call_method(package, "initializer_failed", (&error,)) {
            other.write_unraisable(py, Some(initializer.bind(py)));
        }
        Err(Failure::Initializer)
    }

    fn live(&self, py: Python<'_>, source: &mut Source<'_, Self>) {
        let mut bells = Bells::default();
        let mut left = self.max_tasks;
        let mut turns = Turns::default();
        while left > 0 {
            let next = match source.try_next() {
                Some(job) => {
                    // Before it runs: it may take long.
                    bells.ring();
                    turns.give(py);
                    Some(job)
                }
                None => {
                    // Counts as idle before anybody can see that it is: nothing of the program's
                    // runs any more.
                    source.finishing();
                    py.detach(|| {
                        bells.ring();
                        source.wait_next()
                    })
                }
            };
            let Some(job) = next else { return };
            let ran = job.run(py, &mut turns, &mut InThread { bells: &mut bells });
            left = left.saturating_sub(ran);
        }
    }
}

thread_local! {
    /// Of the submissions that this thread is in: what came while one started a thread that runs
    /// nevertheless. (Python code that runs meanwhile may submit as well.)
    static SUBMISSIONS: RefCell<Vec<Option<PyErr>>> = const { RefCell::new(Vec::new()) };
}

/// A submission by this thread: who submits is to hear of Ctrl-C. (Threads of a pool start others
/// as well, and it is not for whoever submits next.)
pub(crate) struct Submission(());

impl Submission {
    pub(crate) fn begin() -> Self {
        SUBMISSIONS.with_borrow_mut(|all| all.push(None));
        Self(())
    }

    /// Ends it: what came meanwhile.
    pub(crate) fn end(self) -> PyResult<()> {
        std::mem::forget(self);
        let interrupted = SUBMISSIONS.with_borrow_mut(Vec::pop).flatten();
        interrupted.map_or(Ok(()), Err)
    }

    fn interrupted(error: PyErr, starter: &Bound<'_, PyAny>) {
        let spare = SUBMISSIONS.with_borrow_mut(|all| match all.last_mut() {
            Some(submission) => submission.replace(error),
            None => Some(error),
        });
        if let Some(error) = spare {
            error.write_unraisable(starter.py(), Some(starter));
        }
    }
}

impl Drop for Submission {
    fn drop(&mut self) {
        let left = SUBMISSIONS.with_borrow_mut(Vec::pop);
        drop(left);
    }
}

/// How a thread of the pool tells of an end.
struct InThread<'a> {
    bells: &'a mut Bells,
}

impl Teller for InThread<'_> {
    fn wake(&mut self, waiter: Arc<dyn Waiter>) {
        self.bells.add(waiter);
    }

    fn before_strangers(&mut self) {
        self.bells.ring();
    }
}

/// What a `threading.Thread` of a pool runs.
#[pyclass(frozen, module = "manyhands._engine")]
pub(crate) struct ThreadBody {
    life: Mutex<Option<(Life<Hands>, OneMore)>>,
    alive: Arc<Alive>,
    initializer: Arc<Initializer>,
}

impl ThreadBody {
    fn take(&self) -> Option<(Life<Hands>, OneMore)> {
        self.life
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[pymethods]
impl ThreadBody {
    fn __call__(&self, py: Python<'_>) {
        if let Some((life, counted)) = self.take() {
            // It attaches where it needs to, and not where it waits for what it is to abandon.
            py.detach(|| life.run());
            drop(counted);
            if self.alive.is_done() {
                self.initializer.let_go();
            }
        }
    }
}
