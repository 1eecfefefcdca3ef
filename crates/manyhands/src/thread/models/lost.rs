//! Threads that were said to be on their way, and end before they begin their work: what counted on
//! them is done by others, or abandoned.

use std::sync::Arc;

use loom::thread;

use super::tools::{Job, Model, check};
use crate::sync::Ordering;

/// The next `count` threads will come to nothing.
fn model(most: usize, count: u64) -> Arc<Model> {
    let model = Model::new(most, 0);
    model.losing.store(count, Ordering::Relaxed);
    model
}

/// Everything that was accepted has ended, and nobody is left.
fn check_the_end(model: &Model, accepted: usize) {
    assert_eq!(model.ended.count() + model.abandoned.count(), accepted);
    assert_eq!(model.queue.len(), 0);
    assert_eq!(model.queue.crew().threads(), 0);
    assert_eq!(model.queue.crew().searching(), 0);
    assert_eq!(model.queue.crew().sleeping(), 0);
}

#[test]
fn loom_a_thread_that_is_lost_leaves_no_job_behind() {
    for (most, preemptions) in [(1, 2), (2, 1)] {
        check(preemptions, move || {
            let model = model(most, 1);
            let other = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.submit(Job::Plain).is_ok()))
            };
            let accepted = usize::from(model.submit(Job::Plain).is_ok()) + other.join().unwrap();
            assert_eq!(accepted, 2);
            // Before the close: nobody may count on that.
            model.settled.wait(accepted);
            model.queue.close();
            model.join();
            check_the_end(&model, accepted);
        });
    }
}

#[test]
fn loom_two_threads_that_are_lost_leave_no_job_behind() {
    check(2, || {
        let model = model(2, 2);
        model.submit(Job::Plain).unwrap();
        model.submit(Job::Plain).unwrap();
        model.queue.close();
        model.join();
        check_the_end(&model, 2);
    });
}

#[test]
fn loom_a_thread_that_is_lost_beside_others_leaves_the_jobs_to_them() {
    check(2, || {
        let model = Model::new(2, 0);
        model.submit(Job::Plain).unwrap();
        model.losing.store(1, Ordering::Relaxed);
        model.submit(Job::Plain).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
        check_the_end(&model, 2);
        assert_eq!(model.abandoned.count(), 0);
    });
}

#[test]
fn loom_a_thread_that_is_lost_beside_one_that_retires_leaves_no_job_behind() {
    check(2, || {
        let model = Model::new(2, 0);
        model.submit(Job::Last).unwrap();
        model.losing.store(1, Ordering::Relaxed);
        model.submit(Job::Plain).unwrap();
        model.settled.wait(2);
        model.queue.close();
        model.join();
        check_the_end(&model, 2);
    });
}

#[test]
fn loom_a_queue_that_is_closed_while_a_thread_is_lost_ends() {
    check(2, || {
        let model = model(1, 1);
        let submitter = {
            let model = model.clone();
            thread::spawn(move || usize::from(model.submit(Job::Plain).is_ok()))
        };
        model.queue.close();
        let accepted = submitter.join().unwrap();
        model.join();
        check_the_end(&model, accepted);
    });
}
