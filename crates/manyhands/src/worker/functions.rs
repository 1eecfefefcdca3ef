//! The lane for functions: one at a time, on the thread that called `init`.

use std::io;
use std::rc::Rc;

use super::Worker;
use super::current::Running;
use super::report::{Report, no_room};
use crate::board::Kind;
use crate::panic::catch;
use crate::process::{Input, Job, Lane, Next};
use crate::tasks::{Registration, Run, Source, registry};

/// Runs functions until the pool closes or this worker has run its share.
pub(super) fn serve(worker: &Worker) -> io::Result<()> {
    let mut lane = worker.seat.lane(Kind::Function);
    let mut known = Known::default();
    loop {
        match lane.wait_next()? {
            Next::Job(mut job) => {
                lane.set_load(1);
                worker.count();
                let report = match lane.start(&mut job) {
                    Ok(()) => run_job(&mut lane, &job, &mut known),
                    Err(error) => no_room(&error),
                };
                report.complete(&mut lane, &job);
                lane.set_load(0);
            }
            Next::Closing => return Ok(()),
            Next::Interrupted => {}
        }
    }
}

/// The tasks that this lane has run, by the engine's number of them.
#[derive(Default)]
pub(super) struct Known(Vec<Option<&'static Registration>>);

impl Known {
    /// The job's task; `Err` where there is none.
    pub(super) fn find(&mut self, lane: &Lane, job: &Job) -> Result<&'static Registration, Report> {
        let id = usize::try_from(job.function()).map_err(|_| Report::Unknown("?".into()))?;
        if let Some(Some(found)) = self.0.get(id) {
            return Ok(found);
        }
        let key = lane.definition(job).map_err(|error| no_room(&error))?;
        let key = String::from_utf8_lossy(&key.to_vec()).into_owned();
        let found = registry().find(&key).ok_or(Report::Unknown(key))?;
        if self.0.len() <= id {
            self.0.resize(id + 1, None);
        }
        self.0[id] = Some(found);
        Ok(found)
    }
}

fn run_job(lane: &mut Lane, job: &Job, known: &mut Known) -> Report {
    let task = match known.find(lane, job) {
        Ok(task) => task,
        Err(report) => return report,
    };
    let input = match lane.input(job) {
        Ok(input) => input,
        Err(error) => return no_room(&error),
    };
    let source = match &input {
        Input::Inline(bytes, len) => Source::Bytes(&bytes[..*len]),
        Input::Span(span) => Source::Span(span),
    };
    let _running = Running::enter(Rc::new(lane.stop_flag(job)));
    let report = run(Some(task), task.key(), &source);
    if lane.asked(job) {
        Report::Stopped
    } else {
        report
    }
}

/// Runs a function.
pub(super) fn run(task: Option<&Registration>, key: &str, input: &Source<'_>) -> Report {
    match task.map(Registration::run) {
        None => Report::Unknown(key.into()),
        Some(Run::Function(run)) => Report::new(catch(|| run(input))),
        Some(Run::Coroutine(_)) => Report::Unsupported(format!("`{key}` is no plain function")),
    }
}
