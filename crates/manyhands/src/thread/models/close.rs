//! Closing: what was accepted is run, nothing else is, and every thread ends.

use loom::thread;

use super::tools::{Job, Model, check};

#[test]
fn loom_a_job_is_refused_or_run_when_the_queue_is_closed_meanwhile() {
    check(2, || {
        let model = Model::new(1, 0);
        let submitter = {
            let model = model.clone();
            thread::spawn(move || usize::from(model.submit(Job::Plain).is_ok()))
        };
        model.queue.close();
        let accepted = submitter.join().unwrap();
        model.join();
        assert_eq!(model.ended.count(), accepted);
        assert_eq!(model.queue.crew().threads(), 0);
    });
}

#[test]
fn loom_a_thread_that_sleeps_or_works_ends_when_the_queue_is_closed() {
    check(2, || {
        let model = Model::new(1, 0);
        model.submit(Job::Plain).unwrap();
        let submitter = {
            let model = model.clone();
            thread::spawn(move || usize::from(model.submit(Job::Plain).is_ok()))
        };
        model.queue.close();
        let accepted = 1 + submitter.join().unwrap();
        model.join();
        assert_eq!(model.ended.count(), accepted);
        assert!(model.submit(Job::Plain).is_err());
    });
}

#[test]
fn loom_two_sleeping_threads_end_when_the_queue_is_closed() {
    check(1, || {
        let model = Model::new(2, 0);
        model.submit(Job::Together(2)).unwrap();
        model.submit(Job::Together(2)).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
        assert_eq!(model.queue.crew().threads(), 0);
    });
}

#[test]
fn loom_jobs_taken_back_while_a_thread_looks_for_them_are_run_or_taken() {
    check(2, || {
        let model = Model::new(1, 0);
        model.submit(Job::Plain).unwrap();
        model.submit(Job::Plain).unwrap();
        let mut taken = 0;
        while model.queue.take().is_some() {
            taken += 1;
        }
        model.queue.close();
        model.join();
        assert_eq!(model.ended.count() + taken, 2);
    });
}
