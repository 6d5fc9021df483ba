"""The table of `docs/operations.md` that says what happens when something goes wrong: each row has tests, and they are
there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DISK, STORE, DATABASE = "faults/test_disk.py", "faults/test_object_store.py", "faults/test_database.py"
MACHINE, RESTORE = "faults/test_machine.py", "faults/test_restore.py"

PROVED = {
    "a process is killed": [
        "together/test_kill.py::test_a_store_killed_at_a_sample_of_calls_loses_and_leaves_nothing",
        "together/test_bridge_kill.py::test_nothing_acknowledged_is_missing_afterwards",
        "archive/test_abandoned.py::test_at_a_sample_of_moments_nothing_acknowledged_is_lost",
    ],
    "the power goes": [
        "storage/test_filesystem_durability.py::test_all_that_an_object_needs_is_synced_before_the_answer",
        "archive/test_upkeep.py::test_an_object_whose_intent_went_down_with_the_machine_is_found",
    ],
    "a disk is full, or has no inodes left": [
        f"{DISK}::test_a_full_disk_refuses_what_comes_and_reads_go_on",
        f"{DISK}::test_a_modality_is_told_to_come_again_while_a_disk_is_full",
    ],
    "a disk fails to sync, or became read-only": [
        f"{DISK}::test_a_disk_that_became_read_only_refuses_what_comes_and_is_read",
        "storage/test_filesystem_durability.py::test_an_error_of_the_kernel_is_an_answer_and_leaves_nothing",
    ],
    "the cache folder is full or read-only": [f"{DISK}::test_a_cache_folder_that_takes_nothing_fails_no_read"],
    "an object is cut or altered on the disk": [
        f"{RESTORE}::test_an_object_that_was_cut_or_altered_on_disk_is_told_of_and_hides_no_other"
    ],
    "S3 answers 500 or 503": [
        f"{STORE}::test_bursts_of_refusals_are_outlived",
        f"{STORE}::test_a_store_that_goes_on_refusing_is_told_as_such_and_nothing_is_half",
    ],
    "S3 hangs or drips": [
        f"{STORE}::test_others_are_served_while_the_store_hangs",
        f"{STORE}::test_a_store_that_drips_takes_nobody_elses_threads",
    ],
    "S3 breaks off, or its answer is lost": [
        f"{STORE}::test_a_body_that_is_reset_is_asked_for_again",
        f"{STORE}::test_an_answer_that_is_lost_after_the_object_was_written_is_a_success",
    ],
    "S3 gives other bytes": [
        f"{STORE}::test_other_bytes_than_were_stored_never_look_whole_and_are_not_kept",
        f"{STORE}::test_nothing_is_made_or_sent_of_frames_that_came_wrong",
    ],
    "S3 lets us in no more": [f"{STORE}::test_a_key_that_is_refused_makes_not_ready_and_ends_nothing"],
    "database or S3 are away when we start": [
        f"{DATABASE}::test_a_database_that_is_away_at_the_start_is_waited_for",
        f"{STORE}::test_a_server_waits_for_a_store_that_is_away_at_its_start",
        f"{STORE}::test_a_name_that_cannot_be_resolved_is_told_and_waited_for",
    ],
    "PostgreSQL is started again": [
        f"{DATABASE}::test_a_database_that_is_started_again_in_the_middle_costs_nothing_that_was_acknowledged"
    ],
    "a standby takes over": [
        f"{DATABASE}::test_a_standby_takes_over",
        f"{DATABASE}::test_a_writer_that_became_a_standby_is_left",
    ],
    "a backup keeps SQLite busy": [
        f"{DATABASE}::test_a_backup_that_locks_sqlite_is_waited_for_and_then_told",
        f"{DATABASE}::test_a_writer_of_sqlite_that_never_ends_is_told",
    ],
    "a client leaves in the middle of a store": [
        f"{RESTORE}::test_a_client_that_leaves_in_the_middle_stores_what_was_complete_or_nothing"
    ],
    "the same study comes to two replicas at once": [
        f"{STORE}::test_the_same_study_at_two_replicas_at_once_is_there_once"
    ],
    "a modality is cut off, or falls silent": [
        "together/test_bridge_kill.py::test_nothing_acknowledged_is_missing_afterwards",
        "bridge/test_abuse.py::test_silence_before_and_within_a_pdu_ends_the_connection",
    ],
    "the destination of a C-MOVE is away": [
        "bridge/test_retrieve.py::test_a_destination_that_is_down_fails_all_at_once",
        "bridge/test_retrieve.py::test_some_that_fail_are_b000_and_listed",
    ],
    "a node is away for long, or has no room": [
        "bridge/test_jobs.py::test_a_node_that_is_not_there_is_tried_again_later",
        "bridge/test_jobs.py::test_a_node_that_is_out_of_resources_is_tried_again_later",
        "index/test_exchange.py::test_a_job_of_a_node_that_is_away_waits_until_it_is_old_however_many_attempts_there_were",
        "index/test_exchange.py::test_when_a_job_is_done_others_of_its_node_begin_at_once_in_their_order",
        "faults/test_destination.py::test_what_is_for_destinations_that_are_away_for_a_day_arrives_once",
    ],
    "an object of a job is refused for good": [
        "bridge/test_jobs.py::test_an_instance_that_is_refused_is_told_of_and_the_others_go_on",
        "bridge/test_jobs.py::test_an_object_that_ends_the_association_keeps_no_other_out",
    ],
    "the spool is full, or the server refuses what lies there": [
        "bridge/test_spool.py::test_a_full_spool_tells_senders_to_come_again",
        "bridge/test_spool.py::test_an_object_that_is_refused_for_good_is_set_aside_and_blocks_nothing",
    ],
    "storage commitment is asked for what waits in a spool": [
        "bridge/test_commitment.py::test_an_object_that_waits_in_another_bridges_spool_is_not_missing",
        "bridge/test_commitment.py::test_while_the_archive_was_away_no_patience_was_used_up",
        "bridge/test_commitment.py::test_nothing_is_reported_before_our_own_spool_has_delivered_it",
    ],
    "a DICOMweb node refuses an object because it has that UID (409, 0111)": [
        "bridge/test_copies.py::test_a_duplicate_has_arrived_if_its_data_set_is_the_same",
    ],
    "a token of a node ends in the middle": [
        "bridge/test_webnodes.py::test_a_token_that_is_withdrawn_is_fetched_anew",
        "bridge/test_webnodes.py::test_a_token_that_ends_before_an_object_that_is_streamed_lets_it_be_tried_again",
    ],
    "the clock jumps": [
        f"{MACHINE}::test_a_clock_that_jumps_reorders_nothing_and_loses_nothing",
        f"{MACHINE}::test_a_clock_that_jumps_loses_no_job_and_lets_nobody_finish_it_twice",
    ],
    "memory or processor are short": [
        f"{MACHINE}::test_half_a_gigabyte_of_memory_is_enough_for_an_object_of_two",
        f"{MACHINE}::test_a_server_that_gets_little_of_the_processor_is_alive",
    ],
    "file descriptors run out": [f"{MACHINE}::test_without_file_descriptors_new_ones_are_refused_and_old_ones_go_on"],
    "we are told to stop in the middle": [
        f"{MACHINE}::test_told_to_stop_in_the_middle_everything_ends_or_fails_cleanly",
        f"{MACHINE}::test_a_bridge_that_is_told_to_stop_in_the_middle_of_an_object_takes_it",
        f"{MACHINE}::test_a_move_that_cannot_end_in_time_is_answered_with_what_was_sent",
        f"{MACHINE}::test_a_move_is_answered_rightly_though_the_server_was_told_to_stop",
    ],
    "index and objects are of different days": [
        f"{RESTORE}::test_yesterdays_index_with_todays_objects_is_mended_by_the_objects",
        "archive/test_upkeep.py::test_a_sweep_takes_in_what_is_whole",
        "archive/test_abandoned.py::test_at_a_sample_of_moments_nothing_acknowledged_is_lost",
        "archive/test_upkeep.py::test_yesterdays_index_answers_as_todays_once_it_is_reconciled",
        "archive/test_upkeep.py::test_what_was_under_way_when_the_index_was_copied_is_entered_and_no_sweep_takes_it",
        f"{RESTORE}::test_todays_index_with_yesterdays_objects_names_what_is_missing_until_it_is_sent_again",
    ],
    "the index is lost": ["archive/test_upkeep.py::test_a_rebuilt_index_answers_as_before_whatever_happened"],
}
"""Tests by what goes wrong, as the table has it."""


def rows() -> list[str]:
    text = (TESTS.parent / "docs" / "operations.md").read_text()
    table = text.partition("## What happens when")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [line.split(" | ")[0].removeprefix("| ") for line in lines[1:]]


def test_every_row_has_tests_and_every_test_a_row() -> None:
    assert rows() == list(PROVED)


@pytest.mark.parametrize("name", sorted({name for names in PROVED.values() for name in names}))
def test_the_tests_are_there(name: str) -> None:
    file, _, function = name.partition("::")
    assert re.search(rf"^(async )?def {function}\(", (TESTS / file).read_text(), re.MULTILINE)
