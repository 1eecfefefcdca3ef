//! A pool whose workers are this test binary, started again: launcher, worker loop, watchdog.
//!
//! Each test binary that uses it has a `#[test] fn worker_entry()` that calls
//! [`become_worker_if_asked`]; in a normal run that does nothing.
#![allow(dead_code, reason = "not every test binary uses all of it")]
#![allow(unreachable_pub, reason = "a module of each test binary")]

pub mod marks;
pub mod proc;
pub mod random;
pub mod worker;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use manyhands::Kind;
use manyhands::process::{Child, Config, Function, Launched, Launcher, NotLaunched, Pool, Waited};
use manyhands::task::{Exit, Limits, Outcome, Payload, Task};

pub use proc::Watchdog;
pub use worker::become_worker_if_asked;

/// Names the worker's control descriptor.
pub const CONTROL: &str = "MANYHANDS_TEST_CONTROL";
/// What a worker does instead of taking its seat: `fail`, `exit`.
pub const START: &str = "MANYHANDS_TEST_START";

/// Starts this binary again, as a worker.
#[derive(Default)]
pub struct Reexec {
    pub environment: Vec<(&'static str, String)>,
}

/// A command that runs `test` of this binary alone, on its main thread.
pub fn this_binary(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env_remove("NEXTEST")
        .stdin(Stdio::null());
    command
}

/// Runs `test` in a process of its own, whatever the test runner does: true where that process is
/// the one that calls.
pub fn alone(test: &str) -> bool {
    if std::env::var_os("MANYHANDS_TEST_ALONE").is_some_and(|name| name == test) {
        return true;
    }
    let status = this_binary(test).env("MANYHANDS_TEST_ALONE", test).status();
    assert!(status.unwrap().success());
    false
}

impl Launcher for Reexec {
    fn launch(&mut self, _worker: usize, control: OwnedFd) -> Result<Launched, NotLaunched> {
        let descriptor = control.as_raw_fd();
        let mut command = this_binary("worker_entry");
        command
            .env(CONTROL, descriptor.to_string())
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::null());
        // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || match libc::fcntl(descriptor, libc::F_SETFD, 0) {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            });
        }
        let child = command.spawn().map_err(|error| error.to_string())?;
        Ok(Launched {
            pid: child.id(),
            child: Box::new(Process(child)),
        })
    }
}

struct Process(std::process::Child);

impl Child for Process {
    fn reap(&mut self) -> Exit {
        let status = self.0.wait().unwrap();
        match (status.code(), status.signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }
    }
}

/// A pool with the functions of [`worker`] registered.
pub struct Tester {
    pub pool: Arc<Pool>,
    functions: Vec<(&'static str, Arc<Function>)>,
    pub watchdog: Watchdog,
}

impl Tester {
    pub fn new(workers: usize) -> Self {
        Self::with(workers, 2048, &[])
    }

    pub fn with(workers: usize, slots: usize, environment: &[(&'static str, &str)]) -> Self {
        let config = Config {
            workers,
            slots,
            ..Config::default()
        };
        Self::start(config, environment)
    }

    pub fn start(config: Config, environment: &[(&'static str, &str)]) -> Self {
        let environment = environment
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        Self::launched_by(config, Box::new(Reexec { environment }))
    }

    pub fn launched_by(config: Config, launcher: Box<dyn Launcher>) -> Self {
        let pool = Pool::start(config, launcher).unwrap();
        let functions = worker::OPERATIONS
            .iter()
            .map(|name| (*name, pool.register(&[name.as_bytes()]).unwrap()))
            .collect();
        let pool = Arc::new(pool);
        Self {
            watchdog: Watchdog::new(Duration::from_secs(120), Some(pool.clone())),
            pool,
            functions,
        }
    }

    pub fn function(&self, name: &str) -> &Arc<Function> {
        let found = self.functions.iter().find(|(known, _)| *known == name);
        &found.expect("one of OPERATIONS").1
    }

    pub fn submit(&self, name: &str, input: &[u8]) -> Arc<Task> {
        self.submit_as(Kind::Function, name, input)
    }

    pub fn submit_as(&self, kind: Kind, name: &str, input: &[u8]) -> Arc<Task> {
        self.pool
            .submit(kind, self.function(name), None, &[input])
            .unwrap()
    }

    pub fn submit_with(
        &self,
        kind: Kind,
        name: &str,
        input: &[u8],
        timeout: Option<Duration>,
        retries: u32,
    ) -> Arc<Task> {
        let limits = Limits { timeout, retries };
        self.pool
            .submit_with(kind, self.function(name), None, &[input], limits)
            .unwrap()
    }

    /// Waits until a worker has begun the task.
    pub fn begun(&self, task: &Task) {
        while !self.pool.is_running(task) {
            std::thread::yield_now();
        }
    }

    /// A batch of (operation, argument); see [`worker::item`].
    pub fn submit_batch(&self, items: &[(u8, u64)]) -> Arc<Task> {
        let input: Vec<u8> = items
            .iter()
            .flat_map(|(operation, argument)| worker::item(*operation, *argument))
            .collect();
        let items = Some(items.len() as u32);
        self.pool
            .submit(Kind::Function, self.function("items"), items, &[&input])
            .unwrap()
    }

    pub fn outcome(&self, task: &Arc<Task>) -> Outcome {
        assert_eq!(self.pool.wait(task, None).unwrap(), Waited::Done);
        task.take_outcome().expect("taken once")
    }

    pub fn value(&self, task: &Arc<Task>) -> Vec<u8> {
        value(self.outcome(task))
    }

    pub fn number(&self, task: &Arc<Task>) -> u64 {
        number(self.outcome(task))
    }

    pub fn call(&self, name: &str, input: &[u8]) -> Vec<u8> {
        self.value(&self.submit(name, input))
    }

    /// Processes that take tasks now.
    pub fn pids(&self) -> Vec<u32> {
        let status = self.pool.status();
        status
            .workers
            .iter()
            .map(|(pid, _)| *pid)
            .filter(|pid| *pid != 0)
            .collect()
    }

    /// Waits until all workers take tasks.
    pub fn ready(&self) {
        while self
            .pool
            .status()
            .workers
            .iter()
            .any(|(pid, phase)| *pid == 0 || *phase != manyhands::board::WorkerPhase::Ready)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Nothing of the pool goes to sleep, and so nothing of it was awake, for as long; with so many
    /// threads in it and its workers at the least.
    pub fn is_idle_for(&self, time: Duration, least: usize) {
        // The watch may fire once more, and the deadlines that were slept for.
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: asks for the calling thread's own number.
        let me = format!("/proc/{}/task/{}", std::process::id(), unsafe {
            libc::gettid()
        });
        let counts = || -> Vec<_> {
            let mut pids = self.pids();
            pids.push(std::process::id());
            let counts = pids.into_iter().flat_map(proc::sleeps);
            counts.filter(|(thread, ..)| *thread != me).collect()
        };
        let before = counts();
        assert!(before.len() >= least, "{before:?}");
        std::thread::sleep(time);
        assert_eq!(before, counts());
    }

    /// Shuts the pool down and waits for its end.
    pub fn finish(self) {
        self.pool.shutdown(false);
        self.gone();
    }

    pub fn gone(&self) {
        assert_eq!(
            self.pool.wait(self.pool.gone(), None).unwrap(),
            Waited::Done
        );
    }
}

pub fn value(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Ended { code: 0, payload } => payload.into_bytes().into(),
        other => panic!("not a value: {other:?}"),
    }
}

pub fn number(outcome: Outcome) -> u64 {
    u64::from_le_bytes(value(outcome).try_into().unwrap())
}

pub fn text(payload: Payload) -> String {
    String::from_utf8(payload.into_bytes().into()).unwrap()
}
