//! Threads are started and woken for every job that needs one, and for no other.

use loom::thread;

use super::tools::{Job, Model, check};
use crate::sync::Ordering;

#[test]
fn loom_every_job_runs_on_one_thread_that_sleeps_in_between() {
    check(2, || {
        let model = Model::new(1, 0);
        model.submit(Job::Plain).unwrap();
        model.submit(Job::Plain).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
        assert_eq!(model.queue.crew().threads(), 0);
        assert_eq!(model.started.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn loom_jobs_that_need_one_another_get_a_thread_each() {
    check(1, || {
        let model = Model::new(2, 0);
        model.submit(Job::Together(2)).unwrap();
        model.submit(Job::Together(2)).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
    });
}

#[test]
fn loom_two_submitters_at_once_get_a_thread_each() {
    check(1, || {
        let model = Model::new(2, 0);
        let other = {
            let model = model.clone();
            thread::spawn(move || model.submit(Job::Together(2)).unwrap())
        };
        model.submit(Job::Together(2)).unwrap();
        other.join().unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
    });
}

#[test]
fn loom_a_burst_wakes_the_thread_that_sleeps_and_starts_the_other() {
    check(1, || {
        let model = Model::new(2, 0);
        model.submit(Job::Plain).unwrap();
        model.ended.wait(1);
        model.submit(Job::Together(2)).unwrap();
        model.submit(Job::Together(2)).unwrap();
        model.ended.wait(3);
        model.queue.close();
        model.join();
        assert_eq!(model.started.load(Ordering::Relaxed), 2);
    });
}

#[test]
fn loom_who_waits_for_an_outcome_and_submits_again_gets_the_same_thread() {
    check(2, || {
        let model = Model::new(2, 0);
        model.submit(Job::Plain).unwrap();
        model.ended.wait(1);
        model.submit(Job::Plain).unwrap();
        model.ended.wait(2);
        assert_eq!(model.started.load(Ordering::Relaxed), 1);
        model.queue.close();
        model.join();
    });
}

#[test]
fn loom_a_thread_that_retires_leaves_no_job_behind() {
    check(2, || {
        let model = Model::new(1, 0);
        model.submit(Job::Last).unwrap();
        model.submit(Job::Plain).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
        assert_eq!(model.queue.crew().threads(), 0);
    });
}

#[test]
fn loom_a_start_that_fails_leaves_no_job_behind() {
    for most in [1, 2] {
        check(2, move || {
            let model = Model::new(most, 1);
            let other = {
                let model = model.clone();
                thread::spawn(move || usize::from(model.submit(Job::Plain).is_ok()))
            };
            let accepted = usize::from(model.submit(Job::Plain).is_ok()) + other.join().unwrap();
            model.queue.close();
            model.join();
            assert_eq!(model.ended.count() + model.abandoned.count(), accepted);
            assert_eq!(model.queue.len(), 0);
        });
    }
}

#[test]
fn loom_a_start_that_fails_beside_other_threads_leaves_the_jobs_to_them() {
    check(2, || {
        let model = Model::new(2, 0);
        model.submit(Job::Plain).unwrap();
        model.failing.store(1, Ordering::Relaxed);
        model.submit(Job::Plain).unwrap();
        model.ended.wait(2);
        model.queue.close();
        model.join();
        assert_eq!(model.abandoned.count(), 0);
    });
}
