//! The settings of a pool of processes.

use std::fmt::Display;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::board::{Kind, MAX_WORKERS};
use crate::core::{Core, Describe};
use crate::error::{Error, Result};
use crate::pool::Pool;
use crate::process::Config;
use crate::sys::signals::SignalMask;
use crate::tasks::{Encoder, Task};
use crate::worker::{Initializer, Instructions, of_initializer};

/// Settings for a [`Pool`], from [`Pool::builder`].
///
/// ```standalone_crate
/// use manyhands::{Pool, task};
///
/// #[task]
/// fn double(n: u64) -> u64 {
///     2 * n
/// }
///
/// fn main() -> manyhands::Result<()> {
///     manyhands::init();
///     let pool = Pool::builder()
///         .workers(2)
///         .concurrency(50) // for `async fn` tasks, in each worker
///         .max_tasks(10_000) // then a worker is replaced
///         .name("doubler")
///         .build()?;
///     assert_eq!(pool.submit(double, 21).wait()?, 42);
///     Ok(())
/// }
/// ```
#[derive(Debug)]
#[must_use = "settings do nothing until `build` makes a pool of them"]
pub struct Builder {
    config: Config,
    concurrency: usize,
    max_tasks: Option<u64>,
    name: String,
    initializer: Option<Result<(Initializer, Describe)>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            concurrency: 100,
            max_tasks: None,
            name: "manyhands".into(),
            initializer: None,
        }
    }
}

impl Builder {
    /// How many worker processes, from 1 to 256; by default one for each core that this process
    /// may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.config.workers = workers;
        self
    }

    /// How many `async fn` tasks each worker runs at once; at least 1, by default 100. Plain
    /// functions run one at a time.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// After how many tasks a worker is replaced by a fresh one, against leaks in what tasks
    /// call; at least 1, by default never. It ends what it has begun, and others take over
    /// meanwhile.
    pub fn max_tasks(mut self, max_tasks: u64) -> Self {
        self.max_tasks = Some(max_tasks);
        self
    }

    /// What the pool is called, in `Debug` and in lists of threads; by default `manyhands`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long a plain function that was asked to stop (by
    /// [`Handle::cancel`](crate::Handle::cancel) or its timeout) may take for it before its worker
    /// is killed; by default no time at all. See [`is_cancelled`](crate::is_cancelled).
    ///
    /// An `async fn` is dropped when it next waits; it has a second for that.
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.config.stop_grace[Kind::Function as usize] = grace;
        self
    }

    /// A task that each worker runs first: to load a model, to open a file. It gives `()`, or a
    /// `Result` whose error can be shown. When it fails, with an `Err` or by a panic, before any
    /// worker has been ready, the pool's tasks end with [`Error::Initializer`]; later it is tried
    /// again, a few times.
    ///
    /// ```standalone_crate
    /// use std::sync::OnceLock;
    /// use manyhands::{Error, Pool, task};
    ///
    /// static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    ///
    /// #[task]
    /// fn load(text: String) -> Result<(), String> {
    ///     let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
    ///     if words.is_empty() {
    ///         return Err("there are no words".into());
    ///     }
    ///     WORDS.set(words).map_err(|_| "loaded twice".into())
    /// }
    ///
    /// #[task]
    /// fn word(index: usize) -> Option<String> {
    ///     WORDS.get()?.get(index).cloned()
    /// }
    ///
    /// fn main() -> manyhands::Result<()> {
    ///     manyhands::init();
    ///     let pool = Pool::builder().workers(1).initializer(load, "to be or not".into()).build()?;
    ///     assert_eq!(pool.submit(word, 1).wait()?.as_deref(), Some("be"));
    ///
    ///     let pool = Pool::builder().workers(1).initializer(load, " ".into()).build()?;
    ///     match pool.submit(word, 1).wait() {
    ///         Err(Error::Initializer(why)) => assert!(why.contains("there are no words")),
    ///         other => panic!("{other:?}"),
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[allow(clippy::needless_pass_by_value, reason = "as `submit` takes it")]
    pub fn initializer<F: Task<Output: Setup>>(mut self, _task: F, input: F::Input) -> Self {
        self.initializer = Some(instructions::<F>(&input));
        self
    }

    /// Makes the pool. Its workers start at once; this does not wait for them.
    ///
    /// # Errors
    /// [`Error::NotInitialized`] where [`init`](crate::init()) was not called;
    /// [`Error::Setting`] for a number that is out of its range; [`Error::Io`] where the system
    /// gives no memory, descriptor, process or thread; [`Error::Unsupported`] for an initializer
    /// that is an `async fn`.
    ///
    /// ```
    /// use manyhands::{Error, Pool};
    ///
    /// let built = Pool::builder().workers(1000).build();
    /// assert_eq!(built.unwrap_err().to_string(), "`workers` must be from 1 to 256, not 1000");
    /// ```
    pub fn build(self) -> Result<Pool> {
        self.check()?;
        let (initializer, describe) = match self.initializer.transpose()? {
            Some((initializer, describe)) => (Some(initializer), Some(describe)),
            None => (None, None),
        };
        let mut config = self.config;
        // Tasks of one kind leave a quarter of the slots to the other; as many again wait on the
        // board, so that no coroutine that could run waits for the parent.
        let at_once = self.concurrency.saturating_mul(config.workers);
        config.slots = at_once
            .saturating_mul(2)
            .min(MOST_SLOTS)
            .next_power_of_two()
            .max(config.slots);
        let instructions = Instructions {
            name: self.name,
            concurrency: self.concurrency,
            max_tasks: self.max_tasks,
            signals: SignalMask::current().to_bits(),
            initializer,
        };
        Core::start(config, &instructions, describe).map(Pool::new)
    }

    fn check(&self) -> Result<()> {
        let wrong = |name, range, value| Err(Error::Setting { name, range, value });
        match (self.config.workers, self.concurrency, self.max_tasks) {
            (workers, ..) if !(1..=MAX_WORKERS).contains(&workers) => {
                wrong("workers", "from 1 to 256", workers as u64)
            }
            (_, 0, _) => wrong("concurrency", "1 or more", 0),
            (.., Some(0)) => wrong("max_tasks", "1 or more", 0),
            _ => Ok(()),
        }
    }
}

/// 32 MiB of them.
const MOST_SLOTS: usize = 1 << 16;

fn instructions<F: Task<Output: Setup>>(input: &F::Input) -> Result<(Initializer, Describe)> {
    if F::KIND == Kind::Coroutine {
        return Err(Error::Unsupported(format!(
            "the initializer `{}` is an `async fn`; a pool can only be initialized by a plain `fn`",
            F::NAME
        )));
    }
    let mut encoder = Encoder::default();
    F::encode(input, &mut encoder);
    let input = encoder
        .send(|parts| parts.concat())
        .map_err(|failure| Error::of_failure("the initializer's input", failure))?;
    let initializer = Initializer {
        key: F::registration().key().into(),
        input,
        fallible: <F::Output as Setup>::FALLIBLE,
    };
    Ok((initializer, describe::<F>))
}

fn describe<F: Task<Output: Setup>>(account: &[u8]) -> String {
    of_initializer(account, |source| {
        Ok(F::decode(source)?.failure().unwrap_or_default())
    })
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}

/// What an initializer may give: `()`, or a `Result` of it whose error can be shown.
#[diagnostic::on_unimplemented(
    message = "an initializer gives `()` or `Result<(), E>`, not `{Self}`",
    note = "`E` needs `Display`, so that the pool can say why its initializer failed"
)]
pub trait Setup: sealed::Sealed {
    #[doc(hidden)]
    const FALLIBLE: bool;

    #[doc(hidden)]
    fn failure(self) -> Option<String>;
}

impl Setup for () {
    const FALLIBLE: bool = false;

    fn failure(self) -> Option<String> {
        None
    }
}

impl<E: Display + DeserializeOwned> Setup for Result<(), E> {
    const FALLIBLE: bool = true;

    fn failure(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}
