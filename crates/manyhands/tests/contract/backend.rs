//! What the suite asks of a pool, and the pools that it is run on.

use std::time::Duration;

use manyhands::{Handle, Map, Pool, Result, Task, ThreadPool};

/// A pool under test.
pub trait Backend: Sized + Send + Sync + std::fmt::Debug {
    fn start(workers: usize) -> Self;
    fn submit<F: Task>(&self, task: F, input: F::Input) -> Handle<F::Output>;
    fn limited<F: Task>(
        &self,
        timeout: Option<Duration>,
        retries: u32,
        task: F,
        input: F::Input,
    ) -> Handle<F::Output>;
    fn map<F, I>(&self, task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>;
    fn shutdown(self) -> Result<()>;
    fn kill(&self);
}

impl Backend for Pool {
    fn start(workers: usize) -> Self {
        // Functions that are asked to stop do, in this suite, as in a pool of threads.
        Self::builder()
            .workers(workers)
            .stop_grace(Duration::from_secs(60))
            .build()
            .unwrap()
    }

    fn submit<F: Task>(&self, task: F, input: F::Input) -> Handle<F::Output> {
        self.submit(task, input)
    }

    fn limited<F: Task>(
        &self,
        timeout: Option<Duration>,
        retries: u32,
        task: F,
        input: F::Input,
    ) -> Handle<F::Output> {
        let options = self.options().retries(retries);
        match timeout {
            Some(timeout) => options.timeout(timeout).submit(task, input),
            None => options.submit(task, input),
        }
    }

    fn map<F, I>(&self, task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>,
    {
        self.map(task, inputs)
    }

    fn shutdown(self) -> Result<()> {
        self.shutdown()
    }

    fn kill(&self) {
        self.kill();
    }
}

impl Backend for ThreadPool {
    fn start(workers: usize) -> Self {
        Pool::threads().workers(workers).build()
    }

    fn submit<F: Task>(&self, task: F, input: F::Input) -> Handle<F::Output> {
        self.submit(task, input)
    }

    fn limited<F: Task>(
        &self,
        timeout: Option<Duration>,
        retries: u32,
        task: F,
        input: F::Input,
    ) -> Handle<F::Output> {
        let options = self.options().retries(retries);
        match timeout {
            Some(timeout) => options.timeout(timeout).submit(task, input),
            None => options.submit(task, input),
        }
    }

    fn map<F, I>(&self, task: F, inputs: I) -> Map<I::IntoIter, F::Output>
    where
        F: Task,
        I: IntoIterator<Item = F::Input>,
    {
        self.map(task, inputs)
    }

    fn shutdown(self) -> Result<()> {
        self.shutdown();
        Ok(())
    }

    fn kill(&self) {
        self.kill();
    }
}
