//! A pool of processes as its handles share it: the engine's pool, and what turns tasks into
//! bytes for it.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::board::Kind;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::init::Start;
use crate::process::{self, Config, Function, Waited};
use crate::reexec::Reexec;
use crate::task::{Limits, Task as EngineTask};
use crate::tasks::{Encoder, Task, registry};
use crate::worker::Instructions;

/// Makes a text of what an initializer that failed says.
pub(crate) type Describe = fn(&[u8]) -> String;

/// See the module's documentation.
pub(crate) struct Core {
    engine: process::Pool,
    /// Each task's function, shipped at its first use; by the task's place in the registry.
    functions: Box<[OnceLock<Arc<Function>>]>,
    pub(crate) name: String,
    pub(crate) workers: usize,
    pub(crate) concurrency: usize,
    describe: Describe,
}

fn no_initializer(_account: &[u8]) -> String {
    "there is none".into()
}

impl Core {
    pub(crate) fn start(
        config: Config,
        instructions: &Instructions,
        describe: Option<Describe>,
    ) -> Result<Self> {
        let start = Start::find()?;
        let (sender, receiver): (Sender<Arc<Function>>, _) = channel();
        let workers = config.workers;
        let engine = process::Pool::start(config, Box::new(Reexec::new(start, receiver)))?;
        let bytes = postcard::to_allocvec(instructions).map_err(|error| Error::Encode {
            what: "the pool's settings",
            task: None,
            why: error.to_string(),
        })?;
        // Without it no worker starts; the launcher keeps it.
        let shipped = sender.send(engine.register(&[&bytes])?);
        debug_assert!(shipped.is_ok(), "the launcher waits for it");
        Ok(Self {
            engine,
            functions: (0..registry().len()).map(|_| OnceLock::new()).collect(),
            name: instructions.name.clone(),
            workers,
            concurrency: instructions.concurrency,
            describe: describe.unwrap_or(no_initializer),
        })
    }

    pub(crate) fn engine(&self) -> &process::Pool {
        &self.engine
    }

    /// How a pool that is broken shows.
    pub(crate) fn describe(&self) -> Describe {
        self.describe
    }

    fn function<F: Task>(&self) -> Result<&Arc<Function>> {
        let registration = F::registration();
        let place = &self.functions[registration.index()];
        if let Some(function) = place.get() {
            return Ok(function);
        }
        if F::KIND == Kind::Coroutine && cfg!(not(feature = "tokio")) {
            return Err(Error::Unsupported(format!(
                "`{}` is an `async fn`, for which the feature `tokio` of manyhands must be on",
                F::NAME
            )));
        }
        let shipped = self.engine.register(&[registration.key().as_bytes()])?;
        Ok(place.get_or_init(|| shipped))
    }

    fn try_submit<F: Task>(&self, input: &F::Input, limits: Limits) -> Result<Arc<EngineTask>> {
        let function = self.function::<F>().map_err(|error| self.own(error))?;
        let mut encoder = Encoder::default();
        F::encode(input, &mut encoder);
        let submitted = encoder
            .send(|parts| {
                self.engine
                    .submit_with(F::KIND, function, None, parts, limits)
            })
            .map_err(|failure| Error::of_failure("the task's input", failure))?;
        submitted.map_err(|error| self.own(error.into()))
    }

    /// A broken pool says why it broke.
    fn own(&self, error: Error) -> Error {
        match (error, self.engine.broken()) {
            (Error::Broken(_), Some(why)) => Error::of_broken(why, self.describe),
            (error, _) => error,
        }
    }

    pub(crate) fn submit<F: Task>(
        self: &Arc<Self>,
        input: &F::Input,
        limits: Limits,
    ) -> Handle<F::Output> {
        match self.try_submit::<F>(input, limits) {
            Ok(task) => Handle::of_process(self.clone(), task, F::decode, limits),
            Err(error) => Handle::failed(error),
        }
        .named(F::NAME)
    }

    /// Waits until no worker is left; true when that is so.
    pub(crate) fn wait_gone(&self, timeout: Option<Duration>) -> Result<bool> {
        loop {
            match self.engine.wait(self.engine.gone(), timeout)? {
                Waited::Done => return Ok(true),
                Waited::TimedOut => return Ok(false),
                Waited::Interrupted => {}
            }
        }
    }

    /// Why it is broken, if it is.
    pub(crate) fn broken(&self) -> Option<Error> {
        let why = self.engine.broken()?;
        Some(Error::of_broken(why, self.describe))
    }
}
