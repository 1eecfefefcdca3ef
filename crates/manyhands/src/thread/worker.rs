//! What an embedder brings to an executor: what a job is, and how it is run.

use std::sync::Arc;
use std::{io, thread};

use super::life::Life;
use super::source::Source;
use crate::panic::Panic;

/// What an executor's threads do.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
/// use manyhands::Panic;
/// use manyhands::thread::{Executor, Source, Unavailable, Worker};
///
/// /// Adds numbers, as many at a time as there are.
/// struct Adder(Sender<u64>);
///
/// impl Worker for Adder {
///     type Job = u64;
///     type Failure = Panic;
///
///     fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Panic> {
///         while let Some(first) = source.wait_next() {
///             let mut sum = first;
///             while let Some(next) = source.try_next() {
///                 sum += next;
///             }
///             self.0.send(sum).expect("the receiver lives as long as the executor");
///         }
///         Ok(())
///     }
///
///     fn abandon(&self, job: u64, why: &Unavailable<Panic>) {
///         eprintln!("{job} is not added: {why}");
///     }
/// }
///
/// let (sender, receiver) = channel();
/// let executor = Executor::builder(Adder(sender)).threads(2).build();
/// for number in 1..=100 {
///     executor.execute(number).expect("the executor is open");
/// }
/// executor.close();
/// executor.join().expect("this is none of its threads");
/// drop(executor);
/// assert_eq!(receiver.iter().sum::<u64>(), 5050);
/// ```
pub trait Worker: Send + Sync + Sized + 'static {
    /// What is moved to a thread.
    type Job: Send + 'static;

    /// Why a thread could not be set up.
    type Failure: From<Panic> + Clone + Send + Sync + 'static;

    /// The life of one thread: runs jobs until [`Source::wait_next`] gives none. It may return
    /// earlier between two jobs; then the thread ends, and another one is started when there is
    /// need.
    ///
    /// # Errors
    /// The thread cannot be set up. The executor breaks: it takes no jobs any more, and what waits
    /// is [abandoned](Self::abandon). A panic does the same.
    fn run(&self, source: &mut Source<'_, Self>) -> Result<(), Self::Failure>;

    /// Starts a thread that [runs](Life::run) `life`: by default one of the standard library's. An
    /// interpreter's binding makes a thread that the interpreter knows.
    ///
    /// Called by submitters and by the executor's own threads, which hold nothing of the
    /// executor's meanwhile. A handle that is given is joined by [`Executor::join`]; without one,
    /// that waits until `life` was run, and not for what the thread does after it.
    ///
    /// # Errors
    /// No thread can be started: the system has none to give, for example. `life` is not run then.
    ///
    /// [`Executor::join`]: super::Executor::join
    fn start(&self, life: Life<Self>) -> io::Result<Option<thread::JoinHandle<()>>> {
        life.spawn().map(Some)
    }

    /// A job that was accepted will not be run. Called in one of the executor's threads, or by a
    /// submitter if there are none.
    fn abandon(&self, job: Self::Job, why: &Unavailable<Self::Failure>);
}

/// Why an executor runs no job, or not this one.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable<F> {
    /// It was closed.
    #[error("the executor is closed; make a new one to run more")]
    Closed,
    /// A thread could not be set up.
    #[error("the executor is broken, since a thread could not be set up: {0}")]
    Broken(F),
    /// It has no thread, and the system gives none.
    #[error("no thread could be started: {0}; let the process have more threads (`ulimit -u`)")]
    Start(Arc<io::Error>),
}

/// A job that was not accepted, and why.
#[derive(Debug)]
pub struct Rejected<J, F> {
    /// The job.
    pub job: J,
    /// Why.
    pub why: Unavailable<F>,
}

/// To join an executor from one of its own threads would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a thread of an executor cannot wait for that executor's end: wait in another thread")]
pub struct WouldDeadlock;
