//! The contract of a pool: one suite, for every kind of pool.
#![allow(unreachable_pub, reason = "modules of a test binary")]

mod awaiting;
mod backend;
mod ends;
mod maps;
mod results;
mod tasks;

manyhands::testing::worker!();

/// A folder that is removed when the test is over.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Self {
        static FOLDERS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = FOLDERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("manyhands-contract-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Waits until a task has made the file.
    fn await_file(&self, name: &str) {
        while !self.0.join(name).exists() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Has each function of the suite run as a test on each kind of pool.
macro_rules! contract {
    ($($module:ident: $($test:ident)*;)*) => {
        mod processes {
            $(mod $module {
                $(#[test]
                fn $test() {
                    crate::$module::$test::<manyhands::Pool>();
                })*
            })*
        }

        mod threads {
            $(mod $module {
                $(#[test]
                fn $test() {
                    crate::$module::$test::<manyhands::ThreadPool>();
                })*
            })*
        }
    };
}

contract! {
    results:
        a_task_gives_its_result
        an_err_is_a_value
        bytes_of_any_length_come_back
        thousands_of_tasks_give_each_its_own_result
        one_worker_begins_functions_in_the_order_of_submission
        a_panic_is_an_error_that_says_where_and_the_pool_goes_on
        a_coroutine_gives_its_result_or_panics
        many_threads_share_a_pool
        waiting_for_a_time_gives_the_handle_back
        a_dropped_handle_lets_its_task_go_on
        handles_and_pools_say_what_they_are_doing;
    ends:
        a_task_that_has_not_begun_is_withdrawn
        a_task_that_runs_is_stopped
        an_ended_task_cannot_be_cancelled
        a_task_that_takes_too_long_is_stopped
        a_timeout_may_come_while_the_task_runs
        a_timeout_leaves_alone_what_ends_in_time
        failures_are_tried_again_as_often_as_allowed
        shutdown_lets_everything_end
        a_pool_dropped_in_the_middle_cancels_what_it_has
        a_killed_pool_takes_nothing_more;
    maps:
        results_come_in_the_order_of_the_inputs
        results_come_as_they_are_ready
        results_that_come_while_inputs_are_read_are_not_lost
        inputs_are_read_as_results_are_taken
        slow_inputs_do_not_hold_up_results
        a_failure_is_an_item_and_the_others_go_on
        no_inputs_give_no_results
        a_dropped_map_cancels_what_is_under_way
        a_map_of_a_killed_pool_ends_with_the_refusal;
    awaiting:
        handles_are_awaited_on_tokio
        handles_are_awaited_by_a_hand_made_executor
        a_handle_that_moves_to_another_task_wakes_that_one
        a_handle_dropped_while_awaited_leaves_the_pool_sound
        streams_give_what_iterators_give
        an_awaited_handle_can_be_cancelled;
}
