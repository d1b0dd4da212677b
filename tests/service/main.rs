//! `service`: the whole service as a process, against librdkafka's mock cluster and a real broker.
//!
//! `service [FILTER…] [--jobs N]` runs the tests whose names contain a filter. The real broker is started once for all tests that need one; they share nothing else.
#![expect(clippy::print_stdout, reason = "the report is this program's product")]
#![expect(clippy::print_stderr, reason = "a command-line program says on stderr what is wrong")]

mod delivery;
mod faults;
mod group;
mod operation;
mod operators;
mod rebalance;
mod security;
mod shutdown;
mod stage;
mod transactions;
mod waits;

use std::process::ExitCode;

use clap::Parser;
use harness::suite::{self, Test};
use harness::tests;

use crate::stage::Shared;

/// Run the service's tests.
#[derive(Debug, Parser)]
#[command(name = "service", after_help = "Example: service rebalance --jobs 1")]
struct Arguments {
    /// Parts of names; without any, all tests run.
    filters: Vec<String>,
    /// Tests at a time.
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Only print the names.
    #[arg(long)]
    list: bool,
}

const TESTS: &[Test<Shared>] = tests![
    group::members_commit_their_transactions_before_they_hand_over,
    group::range_members_come_and_go,
    group::round_robin_members_come_and_go,
    group::cooperative_members_come_and_go,
    group::members_of_the_new_protocol_come_and_go,
    group::a_killed_range_member_loses_nothing,
    group::a_killed_cooperative_member_loses_nothing,
    group::a_killed_member_of_the_new_protocol_loses_nothing,
    group::a_static_member_restarts_without_a_rebalance,
    group::a_static_eager_member_restarts_without_a_rebalance,
    group::a_static_member_of_the_new_protocol_restarts_without_a_rebalance,
    group::a_killed_static_member_comes_back_at_once,
    group::a_killed_static_member_of_the_new_protocol_waits_for_its_name,
    group::auto_takes_the_new_protocol_and_names_what_it_drops,
    group::auto_falls_back_where_the_broker_has_only_the_classic_one,
    group::compacted_input_is_read_to_its_end,
    group::a_tail_without_records_is_no_standstill,
    group::a_start_waits_for_its_brokers,
    security::tls_and_sasl_let_the_right_ones_in,
    rebalance::a_partition_that_comes_back_goes_on,
    rebalance::a_member_that_leaves_hands_over_at_once,
    rebalance::a_member_that_was_away_too_long_loses_nothing,
    faults::bad_records_become_dead_letters,
    faults::a_topic_with_a_small_limit_gets_small_batches,
    faults::failed_executions_go_where_they_are_told,
    faults::a_real_broker_restart_loses_nothing,
    faults::a_mock_broker_going_down_and_up_loses_nothing,
    delivery::results_carry_key_output_and_headers,
    delivery::the_committed_offset_is_the_next_unfinished_record,
    delivery::a_real_broker_keeps_the_offset_of_the_next_unfinished_record,
    delivery::a_long_wait_does_not_stop_its_partition,
    waits::a_long_wait_beside_a_fast_stream_costs_what_the_window_says,
    delivery::an_endless_choice_loop_times_out_alone,
    delivery::a_lone_record_is_answered_at_once,
    delivery::records_from_before_the_start_are_taken_from_the_committed_offset,
    delivery::a_full_window_pauses_and_goes_on,
    delivery::gaps_between_offsets_do_no_harm,
    transactions::a_kill_in_the_middle_of_a_transaction_shows_nothing_twice,
    transactions::a_zombie_is_refused_its_transaction,
    transactions::a_transaction_that_outlives_its_time_goes_again,
    transactions::what_is_refused_in_a_transaction_is_dead_lettered_in_another,
    transactions::a_refused_dead_letter_holds_its_partition_alone,
    transactions::a_long_wait_withholds_its_partition_alone,
    transactions::a_second_producer_of_the_same_name_ends_the_first,
    shutdown::sigterm_loses_and_repeats_nothing,
    shutdown::sigint_loses_and_repeats_nothing,
    shutdown::an_unfinished_execution_runs_again_after_the_deadline,
    operation::metrics_count_what_was_done,
    operation::health_follows_the_assignment,
    operation::an_unknown_key_is_refused,
    operation::an_unreachable_broker_is_told,
    operation::a_missing_result_topic_is_told,
    operation::a_broken_definition_is_refused,
    operators::dead_letters_come_back_until_they_are_parked,
    operators::replayed_records_run_again_and_can_be_traced,
    operators::an_audit_owes_nothing_for_gaps_and_finds_what_is_missing,
    operators::commands_say_what_is_wrong,
];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        TESTS.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let shared = Shared::default();
    let report = suite::run(TESTS, &arguments.filters, arguments.jobs, &shared, &|line| println!("{line}"));
    if report.passed.is_empty() && report.failed.is_empty() {
        eprintln!("service: no test has such a name");
        return ExitCode::from(2);
    }
    println!("service: {} passed, {} failed", report.passed.len(), report.failed.len());
    if report.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
