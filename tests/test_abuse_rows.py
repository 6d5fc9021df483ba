"""Which test stands for which abuse case: rows A01-A13 (request and transport), A41-A50 (identity), A55-A66 (data and
operation). Each name is looked up in its file, so that the table cannot outlive a test. Of each row one test at least
asks a running server over sockets."""

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

ROWS: dict[str, tuple[str, ...]] = {
    "A01": ("together/test_guards.py::test_ten_gigabytes_announced_are_refused_before_a_byte_is_sent",),
    "A02": ("together/test_guards.py::test_an_endless_chunked_body_is_cut_at_the_limit_and_leaves_nothing",),
    "A03": ("together/test_guards.py::test_a_compressed_body_is_refused_with_the_reason",),
    "A04": (
        "together/test_abuse.py::test_a_body_of_many_parts_or_of_one_in_another_is_refused_and_leaves_nothing",
        "standard/test_multipart.py::test_a_million_empty_parts_stop_at_the_limit",
        "standard/test_multipart.py::test_a_header_of_a_megabyte_is_refused_before_it_has_arrived",
        "standard/test_multipart.py::test_a_missing_or_impossible_boundary_is_refused",
        "standard/test_multipart.py::test_a_header_at_the_limit_is_read_and_one_byte_more_is_not",
        "web/test_stow.py::test_bodies_that_are_not_well_formed_are_refused_and_leave_nothing",
        "web/test_stow.py::test_a_body_a_part_and_their_number_have_limits",
        "web/test_stow.py::test_a_part_without_content_type_is_what_the_request_says",
    ),
    "A05": ("together/test_guards.py::test_a_body_that_drips_is_given_up_and_others_are_served_meanwhile",),
    "A06": ("together/test_abuse.py::test_hundreds_of_slow_connections_leave_the_server_to_others",),
    "A07": (
        "together/test_guards.py::test_requests_that_two_readers_could_take_for_different_ones_are_refused_and_the_connection_closed",
        "together/test_guards.py::test_a_request_that_ends_in_two_places_is_refused_and_nothing_after_it_is_answered",
        "test_http1.py::test_what_two_readers_could_read_differently_is_refused",
    ),
    "A08": (
        "together/test_abuse_access.py::test_streams_that_are_only_reset_end_a_connection_by_tls_and_a_certificates_name_comes_from_it_alone",
        "test_wire.py::test_who_opens_streams_only_to_reset_them_is_cut_off_and_others_are_served",
        "test_wire.py::test_a_client_may_give_up_as_many_streams_as_the_setting_says_and_go_on",
    ),
    "A09": (
        "together/test_abuse_access.py::test_many_ranges_are_answered_by_the_whole_or_not_at_all",
        "web/test_wado.py::test_a_thousand_ranges_get_the_whole",
    ),
    "A10": (
        "together/test_abuse.py::test_a_search_that_takes_too_long_is_stopped_and_the_key_is_named",
        "together/test_abuse.py::test_searches_for_very_much_are_pages_or_refused",
        "index/test_deadline.py::test_a_statement_that_never_ends_is_stopped_and_the_connection_goes_on",
        "index/test_search.py::test_a_search_that_reads_too_much_names_the_key_and_one_that_helps",
    ),
    "A11": (
        "together/test_abuse_access.py::test_no_value_and_no_query_becomes_a_header_field",
        "test_http1.py::test_a_value_that_would_end_its_line_is_not_written",
        "test_connection.py::test_a_value_with_a_line_end_does_not_reach_the_client",
        "web/test_qido.py::test_a_warning_holds_nothing_that_breaks_a_header",
    ),
    "A12": (
        "together/test_abuse_access.py::test_nobody_says_under_which_name_or_from_where_he_asks",
        "web/test_addresses.py::test_off_loopback_a_host_header_is_nobodys_word",
        "web/test_addresses.py::test_headers_from_elsewhere_do_not_count",
        "web/test_hosts.py::test_every_address_refuses_other_names_and_says_which_setting_helps",
    ),
    "A13": (
        "together/test_abuse_access.py::test_what_goes_wrong_tells_nothing_of_the_inside_or_the_patient",
        "web/test_problems.py::test_what_nobody_foresaw_says_nothing_of_the_inside",
        "web/test_stow.py::test_refusals_say_nothing_about_the_inside_or_the_patient",
    ),
    "A41": (
        "together/test_abuse_access.py::test_a_token_that_is_not_good_opens_nothing",
        "web/test_tokens.py::test_a_token_that_is_not_good_is_401",
    ),
    "A42": (
        "together/test_abuse_access.py::test_a_foreign_study_is_not_there_by_any_way",
        "together/test_abuse_access.py::test_a_link_opens_by_its_own_secret_and_only_until_it_is_revoked",
        "web/test_access.py::test_a_foreign_study_is_answered_as_one_that_is_not_there",
        "web/test_access.py::test_searches_find_and_count_ones_own_only",
    ),
    "A43": (
        "together/test_abuse_access.py::test_a_link_opens_by_its_own_secret_and_only_until_it_is_revoked",
        "web/test_access.py::test_a_key_in_the_query_opens_nothing",
        "together/test_audit.py::test_a_token_in_the_query_opens_nothing_and_is_written_nowhere",
    ),
    "A45": (
        "web/test_tokens.py::test_while_the_issuer_hangs_nobody_waits_for_those_whose_keys_nobody_knows",
        "together/test_abuse_access.py::test_what_an_issuer_said_lasts_while_it_is_away_and_strangers_make_nobody_ask_it",
        "web/test_tokens.py::test_keys_that_are_at_hand_stay_good_while_the_issuer_fails",
        "web/test_tokens.py::test_new_keys_are_fetched_when_they_are_named_but_not_by_everybody_who_names_some",
    ),
    "A46": (
        "together/test_abuse_access.py::test_nobody_does_more_than_his_role_allows_or_at_another_node",
        "web/test_access.py::test_a_role_opens_what_is_declared_for_it_and_nothing_else",
        "web/test_access.py::test_who_may_know_of_some_nodes_only_sees_no_other_and_no_job_of_one",
    ),
    "A47": (
        "together/test_abuse_access.py::test_streams_that_are_only_reset_end_a_connection_by_tls_and_a_certificates_name_comes_from_it_alone",
        "web/test_certificates.py::test_nobody_becomes_somebody_by_header_fields_about_a_certificate",
    ),
    "A48": (
        "together/test_abuse_access.py::test_only_listed_pages_read_answers_and_their_viewers_may_ask_for_frames",
        "web/test_cors.py::test_another_origin_may_not",
        "web/test_cors.py::test_every_origin_may_read_without_credentials",
        "web/test_cors.py::test_a_preflight_names_methods_headers_and_how_long_it_holds",
    ),
    "A49": (
        "together/test_abuse_access.py::test_a_page_of_somebody_else_changes_nothing_for_who_is_signed_in",
        "web/test_session.py::test_only_a_page_of_this_server_changes_anything_in_the_name_of_who_is_signed_in",
        "web/test_cors.py::test_a_page_of_another_site_changes_nothing_through_the_browser_of_somebody_near",
    ),
    "A50": (
        "together/test_abuse_access.py::test_who_guesses_keys_is_not_listened_to_others_are_and_it_is_recorded",
        "web/test_access.py::test_an_address_that_tries_many_wrong_keys_is_not_listened_to_but_others_and_known_keys_are",
        "together/test_audit.py::test_everything_that_is_done_is_recorded_and_no_log_names_a_patient",
    ),
    "A55": (
        "together/test_abuse_access.py::test_no_line_of_the_log_is_anybody_elses",
        "together/test_audit.py::test_everything_that_is_done_is_recorded_and_no_log_names_a_patient",
    ),
    "A56": (
        "together/test_audit.py::test_everything_that_is_done_is_recorded_and_no_log_names_a_patient",
        "access/test_trail.py::test_whatever_is_done_to_a_trail_shows",
    ),
    "A57": (
        "together/test_abuse_access.py::test_what_is_counted_names_no_study_and_nobody",
        "web/test_metrics.py::test_labels_are_from_our_own_lists_whatever_is_asked",
    ),
    "A58": (
        "together/test_abuse_access.py::test_what_goes_wrong_tells_nothing_of_the_inside_or_the_patient",
        "web/test_problems.py::test_what_nobody_foresaw_says_nothing_of_the_inside",
        "together/test_abuse.py::test_the_stack_of_an_error_that_nobody_foresaw_names_no_patient",
    ),
    "A59": (
        "together/test_abuse.py::test_no_file_is_for_others_and_nothing_under_way_outlives_a_kill",
        "archive/test_spool.py::test_files_are_for_the_server_alone",
        "archive/test_spool.py::test_a_sweep_removes_files_of_dead_processes_only",
    ),
    "A60": (
        "together/test_abuse_access.py::test_a_filter_is_a_value_whatever_is_in_it",
        "index/test_search.py::test_sql_finds_what_the_definition_of_matching_accepts",
        "index/test_search.py::test_brackets_and_percent_are_plain_characters",
    ),
    "A61": (
        "together/test_abuse_access.py::test_no_text_keeps_a_server_busy",
        "standard/test_steps.py::test_no_text_takes_more_than_a_bounded_time",
        "standard/test_media.py::test_no_text_whatever_raises_anything_but_our_errors",
        "test_http1.py::test_a_field_of_many_spaces_takes_no_more_than_one_look_at_each",
    ),
    "A62": (
        "together/test_abuse_access.py::test_a_deletion_needs_the_right_and_a_reason_and_both_are_kept",
        "web/test_delete.py::test_where_a_reason_is_wanted_nothing_is_deleted_without_one",
        "web/test_delete.py::test_a_reason_is_wanted_where_there_is_access_control_unless_it_is_said_otherwise",
        "web/test_access.py::test_a_role_opens_what_is_declared_for_it_and_nothing_else",
        "web/test_status.py::test_deletions_are_listed_with_their_reasons_the_latest_first",
        "together/test_audit.py::test_everything_that_is_done_is_recorded_and_no_log_names_a_patient",
    ),
    "A63": (
        "together/test_room.py::test_below_the_floor_nothing_is_stored_and_all_else_goes_on_until_there_is_room",
        "together/test_room.py::test_a_real_disk_that_fills_up_and_is_emptied_again",
        "together/test_room.py::test_a_quota_that_is_used_up_is_told_by_a_problem_document_and_by_readiness",
        "together/test_room.py::test_a_device_is_told_to_come_again",
        "together/test_room.py::test_a_spool_keeps_its_floor_and_takes_nothing_below_it",
    ),
    "A64": (
        "together/test_abuse_access.py::test_what_runs_is_no_older_than_what_is_safe",
        "together/test_abuse.py::test_what_we_rest_on_has_a_floor_where_an_older_one_is_not_safe",
    ),
    "A65": (
        "together/test_serve.py::test_an_address_beyond_this_machine_is_refused_until_told_to",
        "test_config.py::test_without_any_word_it_listens_on_loopback_and_keeps_files_under_data",
    ),
    "A66": (
        "together/test_abuse_access.py::test_a_file_with_a_secret_that_others_can_read_is_told_of_at_the_start",
        "test_config.py::test_a_file_that_others_can_read_is_noticed_when_it_holds_a_secret",
    ),
}  # fmt: skip


RUNNERS = {"besieged": "besieged", "bridged": "bridged", "commands": "served started COMMAND", "servers": "running"}
"""What runs a server, by the module of ours that has it."""


@lru_cache(maxsize=64)
def functions(file: str) -> dict[str, set[str]]:
    """The functions of a file, and every name that each of them uses."""
    tree = ast.parse((TESTS / file).read_text())
    return {
        node.name: {name for each in ast.walk(node) for name in names(each)}
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def names(node: ast.AST) -> Iterator[str]:
    """What a name, an attribute of a module, or a parameter is called; a test names a fixture by a parameter."""
    match node:
        case ast.Name(id=name) | ast.arg(arg=name):
            yield name
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            yield f"{module}.{name}"


def asks_a_server(file: str, test: str) -> bool:
    """Whether a test runs a server, by itself or by what it uses of its own file."""
    tree = ast.parse((TESTS / file).read_text())
    runners = {f"{module}.{name}" for module, given in RUNNERS.items() for name in given.split()}
    imported = {
        one.asname or one.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for one in node.names
        if f"{node.module}.{one.name}" in runners
    }
    known, seen, used = functions(file), set[str](), {test}
    while used - seen:
        name = (used - seen).pop()
        seen.add(name)
        used |= known.get(name, set())
    return bool(used & (runners | imported))


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row):
    for test in ROWS[row]:
        file, _, name = test.partition("::")
        assert name in functions(file), test


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_tried_on_a_running_server(row):
    assert any(asks_a_server(*test.split("::")) for test in ROWS[row])


def test_a_test_that_asks_an_application_in_this_process_is_not_taken_for_one_that_runs_a_server():
    assert not asks_a_server("web/test_access.py", "test_a_key_in_the_query_opens_nothing")
    assert asks_a_server("together/test_abuse.py", "test_hundreds_of_slow_connections_leave_the_server_to_others")
    assert asks_a_server("together/test_rights.py", "test_a_key_for_one_node_reaches_it_and_no_other")
