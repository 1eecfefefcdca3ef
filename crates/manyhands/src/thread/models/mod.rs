//! Models of the queue's protocol for the loom checker; see `board/models` for how such a model
//! is read. A wake-up that is lost, a job that is left, a thread that does not end: each shows as
//! a deadlock, which fails the model.

pub(crate) mod fifo;

#[cfg(test)]
mod close;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod lost;
#[cfg(test)]
mod outcome;
#[cfg(test)]
mod turns;

#[cfg(test)]
mod tools {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::Arc;

    use loom::sync::{Condvar, Mutex};
    use loom::thread;

    use super::super::queue::{Me, Queue, Refused, Start};
    use crate::sync::{AtomicU64, Ordering};

    /// As in `board/models`.
    pub(super) fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
        builder.check(model);
    }

    /// Counts, and lets others wait for a count.
    #[derive(Default)]
    pub(super) struct Bell {
        rung: Mutex<usize>,
        changed: Condvar,
    }

    impl Bell {
        pub(super) fn ring(&self) {
            *self.rung.lock().unwrap() += 1;
            self.changed.notify_all();
        }

        pub(super) fn wait(&self, count: usize) {
            let mut rung = self.rung.lock().unwrap();
            while *rung < count {
                rung = self.changed.wait(rung).unwrap();
            }
        }

        pub(super) fn count(&self) -> usize {
            *self.rung.lock().unwrap()
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) enum Job {
        /// Ends.
        Plain,
        /// Needs as many others of its sort to be running at the same time.
        Together(usize),
        /// Ends, and the thread retires.
        Last,
    }

    /// An executor in small.
    pub(super) struct Model {
        pub(super) queue: Queue<Job>,
        pub(super) together: Bell,
        pub(super) ended: Bell,
        pub(super) abandoned: Bell,
        /// Either of both.
        pub(super) settled: Bell,
        /// Starts that will fail.
        pub(super) failing: AtomicU64,
        /// Threads that will end on their way to their work.
        pub(super) losing: AtomicU64,
        pub(super) started: AtomicU64,
        threads: std::sync::Mutex<VecDeque<thread::JoinHandle<()>>>,
    }

    pub(super) struct Starter<'a>(pub(super) &'a Arc<Model>);

    impl Start for Starter<'_> {
        fn start(&self) -> io::Result<()> {
            let model = self.0.clone();
            if model.failing.load(Ordering::Relaxed) > 0 {
                model.failing.fetch_sub(1, Ordering::Relaxed);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let lost = model.losing.load(Ordering::Relaxed) > 0;
            if lost {
                model.losing.fetch_sub(1, Ordering::Relaxed);
            } else {
                model.started.fetch_add(1, Ordering::Relaxed);
            }
            let thread = thread::spawn({
                let model = model.clone();
                // As `Life`, which is dropped unrun by a thread that comes to nothing.
                move || match lost {
                    true => model
                        .queue
                        .lost(&Starter(&model), io::ErrorKind::Other.into()),
                    false => model.work(),
                }
            });
            model.threads.lock().unwrap().push_back(thread);
            Ok(())
        }

        /// As `executor::Starter`.
        fn failed(&self, _error: io::Error) {
            let queue = &self.0.queue;
            while queue.crew().threads() == 0 {
                match queue.take() {
                    Some(_) => {
                        self.0.abandoned.ring();
                        self.0.settled.ring();
                    }
                    None => return,
                }
            }
        }
    }

    impl Model {
        pub(super) fn new(most: usize, failing: u64) -> Arc<Self> {
            Arc::new(Self {
                queue: Queue::new(most),
                together: Bell::default(),
                ended: Bell::default(),
                abandoned: Bell::default(),
                settled: Bell::default(),
                failing: AtomicU64::new(failing),
                losing: AtomicU64::new(0),
                started: AtomicU64::new(0),
                threads: std::sync::Mutex::default(),
            })
        }

        pub(super) fn submit(self: &Arc<Self>, job: Job) -> Result<(), Refused> {
            let submitted = self.queue.submit(job, &Starter(self));
            submitted.map_err(|(_, refused)| refused)
        }

        /// As the executor's threads.
        fn work(self: &Arc<Self>) {
            let start = Starter(self);
            let mut me = Me::new();
            while let Some(job) = self.queue.wait_next(&mut me, &start, || {}) {
                if let Job::Together(count) = job {
                    self.together.ring();
                    self.together.wait(count);
                }
                self.queue.finishing(&mut me);
                self.ended.ring();
                self.settled.ring();
                if job == Job::Last {
                    break;
                }
            }
            self.queue.leave(me, &start);
        }

        pub(super) fn join(&self) {
            loop {
                let thread = self.threads.lock().unwrap().pop_front();
                match thread {
                    Some(thread) => thread.join().unwrap(),
                    None => return,
                }
            }
        }
    }
}
