//! What can go wrong, for a pool and for a task.

use std::time::Duration;
use std::{fmt, io};

use crate::arena::ArenaError;
use crate::panic::Panic;
use crate::process::SubmitError;
use crate::task::{Broken, Exit};
use crate::tasks::Failure;
use crate::thread;

/// What the functions of this crate give.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a pool could not be made, or how a task ended that has no result.
///
/// What a task itself returns is never one of these: an `Err` of a task arrives as that `Err`,
/// inside of an `Ok`.
///
/// ```standalone_crate
/// use manyhands::{Error, Pool, task};
///
/// #[task]
/// fn half(n: u64) -> Result<u64, String> {
///     assert!(n < 100, "{n} is too large");
///     if n % 2 == 0 { Ok(n / 2) } else { Err(format!("{n} is odd")) }
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder().workers(1).build()?;
///     assert_eq!(pool.submit(half, 8).wait()?, Ok(4));
///     assert_eq!(pool.submit(half, 7).wait()?, Err("7 is odd".to_owned()));
///     match pool.submit(half, 101).wait() {
///         Err(Error::Panicked(panic)) => assert_eq!(panic.message(), "101 is too large"),
///         other => panic!("{other:?}"),
///     }
///     Ok(())
/// }
/// ```
///
/// `Debug` shows the text as well, since that is what is printed when `main` returns an error.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A pool of processes was asked for in a program that did not call
    /// [`init`](crate::init()).
    #[error(
        "this program cannot start worker processes yet: make `manyhands::init();` the first \
         line of its `main`; in a test, put `manyhands::testing::worker!();` into the test's \
         file, outside of any function"
    )]
    NotInitialized,
    /// A worker does not find the task that it was sent.
    #[error(
        "the worker process does not know the task `{name}`: parent and worker must be the same \
         executable, with the function compiled into it under `#[task]`"
    )]
    UnknownTask {
        /// The task's path.
        name: String,
    },
    /// The tasks of this kind need something that is not there.
    #[error("{0}")]
    Unsupported(String),
    /// Workers cannot be started, or end before they are of use.
    #[error("workers cannot be started: {0}")]
    Start(String),
    /// The pool's initializer failed: in every process, or in one of its threads.
    #[error("the pool's initializer failed: {0}")]
    Initializer(String),
    /// A setting of a pool is out of its range.
    #[error("`{name}` must be {range}, not {value}")]
    Setting {
        /// The method that sets it.
        name: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it was.
        value: u64,
    },
    /// The system gave no memory, descriptor, process or thread.
    #[error("the system refused what a pool needs: {0}")]
    Io(#[from] io::Error),
    /// The pool takes no tasks any more.
    #[error("the pool is shut down; make a new one to submit more tasks")]
    ShutDown,
    /// The pool can run nothing more; says why.
    #[error("the pool can run nothing more: {0}; make a new one")]
    Broken(String),
    /// The task panicked: what it said, where, and the stack. The pool goes on.
    #[error("the task {0}")]
    Panicked(Panic),
    /// The task's worker died while it ran it. The pool has replaced the worker.
    ///
    /// Either the task brought that about, or another that ran in the same worker, or somebody
    /// outside (the system, where memory is short). With `stopped` it was the pool: it had to stop
    /// a plain function, which only the end of its process does, and the worker ran this `async`
    /// task beside it. [`Options::retries`](crate::Options::retries) tries such tasks again; a pool
    /// of their own keeps them apart from functions that may be stopped.
    #[error("{}", died(*pid, *exit, *ran, *stopped, *task, *attempts))]
    #[non_exhaustive]
    WorkerDied {
        /// The process.
        pid: u32,
        /// How it ended.
        exit: Exit,
        /// How long the task had run.
        ran: Duration,
        /// Its pool killed it, to stop another task.
        stopped: bool,
        /// The task's path.
        task: Option<&'static str>,
        /// How many attempts were made, this one included.
        attempts: u32,
    },
    /// The task took longer than its timeout, and was stopped.
    #[error("the task{} was stopped after {ran:?}, as its timeout demands", quoted(*task))]
    #[non_exhaustive]
    TimedOut {
        /// How long it had run.
        ran: Duration,
        /// The task's path; a closure has none.
        task: Option<&'static str>,
    },
    /// The task was withdrawn or stopped, by [`Handle::cancel`](crate::Handle::cancel), or with
    /// its pool, by `kill` or by being dropped.
    #[error("the task was cancelled, or its pool was killed or dropped before it ended")]
    Cancelled,
    /// Nobody can say how the task ended; says why. The pool goes on.
    #[error("the task's outcome is lost: {0}; the pool goes on")]
    Lost(String),
    /// A value cannot be written as bytes, or found no memory.
    #[error("{what}{} cannot be sent to another process: {why}", of(*task))]
    #[non_exhaustive]
    Encode {
        /// Which value.
        what: &'static str,
        /// The task's path.
        task: Option<&'static str>,
        /// What serde or the system says about it.
        why: String,
    },
    /// Bytes are not the value that they should be.
    #[error(
        "{what}{} cannot be read back: {why}; its `Serialize` and `Deserialize` must describe \
         the same data (postcard knows no `skip_serializing_if`, `flatten` or `untagged`)",
        of(*task)
    )]
    #[non_exhaustive]
    Decode {
        /// Which value.
        what: &'static str,
        /// The task's path.
        task: Option<&'static str>,
        /// What serde says about it.
        why: String,
    },
    /// A forked child inherited the pool.
    #[error("this pool belongs to the process that made it; make one in this process")]
    OtherProcess,
}

fn quoted(task: Option<&str>) -> String {
    task.map_or_else(String::new, |name| format!(" `{name}`"))
}

fn of(task: Option<&str>) -> String {
    task.map_or_else(String::new, |name| format!(" (of `{name}`)"))
}

fn died(
    pid: u32,
    exit: Exit,
    ran: Duration,
    stopped: bool,
    task: Option<&str>,
    attempts: u32,
) -> String {
    let mut after = format!("after it had run the task{} for {ran:?}", quoted(task));
    if attempts > 1 {
        after += &format!(", which was attempt {attempts} of it");
    }
    match stopped {
        true => format!(
            "the worker process {pid} was killed by its pool {after}, to stop another task, a \
             plain function that ran beside it"
        ),
        false => format!("the worker process {pid} {exit} {after}"),
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::NotInitialized => "NotInitialized",
            Self::UnknownTask { .. } => "UnknownTask",
            Self::Unsupported(_) => "Unsupported",
            Self::Start(_) => "Start",
            Self::Initializer(_) => "Initializer",
            Self::Setting { .. } => "Setting",
            Self::Io(_) => "Io",
            Self::ShutDown => "ShutDown",
            Self::Broken(_) => "Broken",
            Self::Panicked(_) => "Panicked",
            Self::WorkerDied { .. } => "WorkerDied",
            Self::TimedOut { .. } => "TimedOut",
            Self::Cancelled => "Cancelled",
            Self::Lost(_) => "Lost",
            Self::Encode { .. } => "Encode",
            Self::Decode { .. } => "Decode",
            Self::OtherProcess => "OtherProcess",
        };
        write!(f, "{name}: {self}")
    }
}

impl Error {
    pub(crate) fn of_failure(what: &'static str, failure: Failure) -> Self {
        match failure {
            Failure::Encode(why) => Self::Encode {
                what,
                task: None,
                why,
            },
            Failure::Decode(why) => Self::Decode {
                what,
                task: None,
                why,
            },
        }
    }

    /// Which task it was that ended so.
    pub(crate) fn of_task(mut self, name: Option<&'static str>) -> Self {
        if let Self::WorkerDied { task, .. }
        | Self::TimedOut { task, .. }
        | Self::Encode { task, .. }
        | Self::Decode { task, .. } = &mut self
        {
            *task = name;
        }
        self
    }

    /// How many attempts were made.
    pub(crate) fn after(mut self, made: u32) -> Self {
        if let Self::WorkerDied { attempts, .. } = &mut self {
            *attempts = made;
        }
        self
    }

    /// `initializer` makes a text of what the runner said about an initializer that failed.
    pub(crate) fn of_broken(why: &Broken, initializer: impl FnOnce(&[u8]) -> String) -> Self {
        match why {
            Broken::Initializer(error) => Self::Initializer(initializer(error)),
            Broken::Start(text) => Self::Start(text.clone()),
            Broken::Board(text) => Self::Broken(format!(
                "its shared memory was overwritten again and again ({text}), which some native \
                 code in its tasks must have done"
            )),
            Broken::Died { pid, exit } => Self::Broken(format!("worker {pid} {exit}")),
            Broken::Unreadable(_) => Self::Broken("an outcome could not be read".into()),
            Broken::Killed => Self::Cancelled,
        }
    }
}

impl From<Panic> for Error {
    fn from(panic: Panic) -> Self {
        Self::Panicked(panic)
    }
}

impl From<thread::Error> for Error {
    fn from(error: thread::Error) -> Self {
        match error {
            thread::Error::Panicked(panic) => Self::Panicked(panic),
            thread::Error::Cancelled => Self::Cancelled,
            thread::Error::TimedOut { ran } => Self::TimedOut { ran, task: None },
            thread::Error::ShutDown => Self::ShutDown,
            thread::Error::Initializer(panic) => Self::Initializer(format!("it {panic}")),
            error @ thread::Error::Start(_) => Self::Start(error.to_string()),
        }
    }
}

impl From<ArenaError> for Error {
    fn from(error: ArenaError) -> Self {
        Self::Encode {
            what: "the task's input",
            task: None,
            why: error.to_string(),
        }
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::ShutDown => Self::ShutDown,
            SubmitError::OtherProcess => Self::OtherProcess,
            SubmitError::Arena(error) => error.into(),
            SubmitError::Broken(why) if matches!(*why, Broken::Killed) => Self::ShutDown,
            error => Self::Broken(error.to_string()),
        }
    }
}
