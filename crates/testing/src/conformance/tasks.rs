//! Rules of `stowd_core::tasks`, tried with real containers.

use std::path::PathBuf;
use std::sync::Arc;

use stowd_core::events::Exchange;
use stowd_core::tasks::Tasks;
use stowd_core::{Scope, containers};

mod control;
mod execs;
mod lifecycle;
mod rig;
mod streams;
mod told;

/// Tasks, with the containers they run and the events they cause.
pub struct Subject {
    /// The tasks.
    pub tasks: Arc<dyn Tasks>,
    /// Their containers.
    pub containers: Arc<dyn containers::Store>,
    /// Where they tell of themselves.
    pub exchange: Arc<dyn Exchange>,
    /// A namespace whose name nobody else uses: cgroups are named after it.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
    /// A folder for root file systems and fifos.
    pub folder: PathBuf,
}

super::checks!(Subject:
    lifecycle {
        a_created_task_has_a_process_that_waits,
        a_started_task_runs,
        exit_codes_are_reported,
        a_signal_ends_with_128_and_its_number,
        the_exit_is_kept_until_delete,
        the_exit_has_a_time,
        wait_may_come_before_and_after_the_end,
        a_task_exists_once,
        a_task_needs_a_container,
        a_process_starts_once,
        unknown_tasks_are_not_found,
        a_running_task_cannot_be_deleted,
        a_created_task_can_be_deleted,
        a_deleted_task_is_gone,
        a_task_can_be_made_again,
        a_missing_program_is_named,
        a_failed_creation_leaves_nothing,
        tasks_belong_to_their_namespace,
        tasks_are_listed,
    }
    streams {
        output_goes_to_fifos,
        output_goes_to_files,
        a_task_without_streams_runs,
        input_comes_from_a_fifo,
        closing_input_ends_it,
        streams_are_answered,
        a_terminal_is_one,
        a_terminal_has_a_size,
    }
    control {
        signals_arrive,
        killing_a_finished_task_is_not_found,
        a_signal_for_all_reaches_all,
        paused_tasks_stand_still,
        pause_and_resume_answer_for_the_state,
        pids_are_those_of_the_task,
        metrics_are_of_the_task,
        limits_can_change,
    }
    execs {
        an_exec_runs_in_the_task,
        an_exec_has_its_own_exit,
        an_exec_has_its_own_streams,
        an_exec_id_is_taken_once,
        an_exec_needs_a_running_task,
        a_missing_program_of_an_exec_is_named,
        an_exec_can_be_killed_alone,
        deleting_the_task_ends_its_execs,
    }
    told {
        events_come_in_order,
        events_of_execs_come_in_order,
        memory_beyond_the_limit_is_told,
        many_tasks_run_at_once,
        nothing_is_left_after_delete,
    }
);

const FOREVER: &str = "while :; do sleep 1; done";
