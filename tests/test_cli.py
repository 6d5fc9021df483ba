"""The command line as a user meets it: processes of their own, in a folder of their own."""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commands import COMMAND, environment, run, run_json, served
from dicoms import ct

from dicomweb import cli
from dicomweb.config import Config, settings

COMMANDS = [
    "serve",
    "import",
    "export",
    "verify",
    "reconcile",
    "rebuild-index",
    "stats",
    "config",
    "echo",
    "find",
    "send",
    "retrieve",
]
STUDY = "1.2.826.0.1.3680043.10.1234.1"


@pytest.fixture
def filled(tmp_path):
    """A folder whose archive holds three instances of one study."""
    (tmp_path / "from").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "from" / f"{number}.dcm").write_bytes(ct(number))
    run(tmp_path, "import", "from")
    return tmp_path


# -- help ------------------------------------------------------------------------------------------------
def test_help_lists_every_command_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom dicomweb.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'rich', 'starlette', 'hypercorn', 'boto3', 'pydicom', 'numpy', 'sqlite3', 'asyncio'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert left.value.code == 0
    assert f"example:\n  roentgate {command}" in text
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("command", COMMANDS)
def test_each_example_is_a_command_line_that_can_be_read(command, capsys):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    (example,) = re.findall(r"^example:\n  roentgate (.*)$", capsys.readouterr().out, re.MULTILINE)
    words = example.partition(" > ")[0].split()
    assert cli.parser().parse_args(words).command == command


def test_the_version_is_that_of_the_distribution(tmp_path):
    assert re.fullmatch(r"roentgate \d+\.\d+\.\d+\S*\n", run(tmp_path, "--version").stdout)


def test_without_a_command_help_is_shown_and_the_status_says_that_something_is_missing(tmp_path):
    assert "COMMAND" in run(tmp_path, status=2).stdout


# -- errors ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fetch"], "invalid choice: 'fetch'"),
        (["stats", "--bogus"], "unrecognized arguments: --bogus"),
        (["import"], "the following arguments are required: PATH"),
        (["import", "x", "--workers", "0"], "a number from 1 to 64"),
        (["serve", "--http-port", "eighty"], "--http-port should be a whole number"),
        (["serve", "--host", "0.0.0.0"], "access control"),
        (["stats", "--config", "gone.toml"], "gone.toml cannot be read"),
        (["stats", "--storage", "ftp://x"], "storage"),
        (["stats", "--index", "mysql://x"], "index"),
        (["export", "--study", "1", "--instance", "2", "--to", "x"], "--instance needs --series"),
        (["rebuild-index"], "--yes"),
    ],
)
def test_a_wrong_option_or_setting_is_one_sentence_on_standard_error(tmp_path, arguments, said):
    done = run(tmp_path, *arguments, status=2)
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_setting_in_the_environment_stops_every_command(tmp_path):
    for command in (["serve"], ["stats"], ["config"], ["import", "x"]):
        done = run(tmp_path, *command, status=2, ROENTGATE_HTTP_PROT="1")
        assert "did you mean ROENTGATE_HTTP_PORT?" in done.stderr
    assert list(tmp_path.iterdir()) == [], "nothing was opened"


@pytest.mark.parametrize(
    "command",
    [["stats"], ["verify"], ["reconcile"], ["rebuild-index", "--yes"], ["export", "--study", "1", "--to", "x"]],
)
def test_a_slip_in_the_folder_is_told_of_and_makes_no_empty_archive(tmp_path, command):
    done = run(tmp_path, *command, "--data", "dtaa", status=2)
    assert "dtaa" in done.stderr
    assert "--data" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["serve", "--http-port", "0"], ["import", "note.txt"]])
def test_a_folder_that_cannot_be_used_is_named(tmp_path, command):
    (tmp_path / "note.txt").write_text("no folder")
    done = run(tmp_path, *command, "--data", "note.txt", status=1)
    assert f"storage is file:{tmp_path}/note.txt/files" in done.stderr
    assert "Not a directory" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_archive_file_that_cannot_be_written_is_one_sentence(filled):
    (filled / "note.txt").write_text("no folder")
    done = run(filled, "export", "--study", STUDY, "--to", "note.txt/out.zip", status=1)
    assert "out.zip cannot be written" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_study_that_is_not_there_is_one_sentence_and_status_one(filled):
    done = run(filled, "export", "--study", "1.2.3", "--to", "out", status=1)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("roentgate: ")


def test_a_reader_that_leaves_early_is_no_crash(tmp_path):
    with subprocess.Popen(
        [*COMMAND, "config"], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


# -- import ----------------------------------------------------------------------------------------------
def test_an_import_says_how_many_went_in_and_is_quiet_in_a_pipe(tmp_path):
    (tmp_path / "1.dcm").write_bytes(ct(1))
    done = run(tmp_path, "import", "1.dcm")
    assert re.fullmatch(r"stored 1  \([\d.]+ [KM]?B\)\n", done.stdout)
    assert done.stderr == ""


def test_again_everything_is_already_there_and_the_status_is_still_good(filled):
    assert run(filled, "import", "from").stdout.startswith("already there 3")


def test_refusals_are_listed_with_their_reasons_and_the_status_tells(tmp_path):
    (tmp_path / "good.dcm").write_bytes(ct(1))
    (tmp_path / "cut.dcm").write_bytes(ct(2)[:-30])
    (tmp_path / "note.txt").write_text("no image")
    done = run(tmp_path, "import", "good.dcm", "cut.dcm", "note.txt", status=1)
    assert re.search(r"^cut\.dcm\t.+", done.stdout, re.MULTILINE)
    assert re.search(r"^note\.txt\tit is not a DICOM file$", done.stdout, re.MULTILINE)
    assert "stored 1  refused 2" in done.stdout


def test_an_import_for_programs_is_one_json_document(tmp_path):
    (tmp_path / "good.dcm").write_bytes(ct(1))
    (tmp_path / "cut.dcm").write_bytes(ct(2)[:-30])
    told = run_json(tmp_path, "import", "good.dcm", "cut.dcm", "gone.dcm", status=1)
    assert (told["stored"], told["refused"], told["interrupted"]) == (1, 2, False)
    assert {refusal["name"] for refusal in told["refusals"]} == {"cut.dcm", "gone.dcm"}
    assert all(refusal["reason"] for refusal in told["refusals"])


def test_what_to_do_with_other_content_can_be_said(filled):
    (filled / "other.dcm").write_bytes(ct(1, PatientName="Other^Name"))
    assert run_json(filled, "import", "other.dcm", status=1)["refused"] == 1
    assert run_json(filled, "import", "other.dcm", "--on-conflict", "keep")["kept"] == 1
    assert run_json(filled, "import", "other.dcm", "--on-conflict", "replace")["replaced"] == 1
    assert run_json(filled, "stats")["instances"] == 3


def test_an_import_that_is_interrupted_says_so_and_goes_on_when_run_again(tmp_path):
    (tmp_path / "from").mkdir()
    template = ct(10_000)
    for number in range(10_000, 12_000):
        data = template.replace(b".1.1.10000", f".1.1.{number}".encode())
        (tmp_path / "from" / f"{number}.dcm").write_bytes(data)
    process = subprocess.Popen(
        [*COMMAND, "import", "from", "--json"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    objects = tmp_path / "data" / "files" / "objects"
    while not objects.is_dir() and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    told = json.loads(out)
    assert told["interrupted"] is True
    assert told["stored"] < 2000
    there = run_json(tmp_path, "stats")["instances"]
    again = run_json(tmp_path, "import", "from")
    assert (again["already"], again["stored"]) == (there, 2000 - there)


def on_a_terminal(folder: Path, *arguments: str) -> str:
    """Run a command on a terminal of 140 columns and return everything that it showed."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=folder,
            env=environment(COLUMNS="140", TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not data:
                break
            shown += data
        process.wait(60)
    finally:
        os.close(ours)
    return shown.decode()


def test_on_a_terminal_there_is_a_bar_while_it_runs_and_a_table_of_refusals_after(tmp_path):
    (tmp_path / "from").mkdir()
    for number in range(1, 40):
        (tmp_path / "from" / f"{number}.dcm").write_bytes(ct(number))
    (tmp_path / "from" / "cut.dcm").write_bytes(ct(50)[:-30])
    shown = on_a_terminal(tmp_path, "import", "from")
    assert "Importing" in shown
    assert "/s" in shown
    assert "Refused" in shown
    assert "stored 39  refused 1" in shown


def test_text_of_a_file_name_cannot_command_the_terminal(tmp_path):
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a\x1b[2J.dcm").write_bytes(ct(1)[:-30])
    done = run(tmp_path, "import", "from", status=1)
    assert "\x1b" not in done.stdout


# -- the others ------------------------------------------------------------------------------------------
def test_an_export_gives_back_the_same_bytes(filled):
    told = run_json(filled, "export", "--study", STUDY, "--to", "out")
    assert told["written"] == 3
    assert sorted(path.read_bytes() for path in (filled / "out").rglob("*.dcm")) == sorted(map(ct, (1, 2, 3)))
    run(filled, "export", "--study", STUDY, "--to", "out.zip")
    with zipfile.ZipFile(filled / "out.zip") as packed:
        assert sorted(map(packed.read, packed.namelist())) == sorted(map(ct, (1, 2, 3)))


def test_an_export_is_in_the_audit_trail_however_it_ends(filled):
    (filled / "note.txt").write_text("no folder")
    for where, status in (("out", 0), ("note.txt/out.zip", 1)):
        run(filled, "export", "--study", STUDY, "--to", where, status=status, ROENTGATE_AUDIT="true")
    files = [path.read_text() for path in (filled / "data" / "audit").iterdir()]
    lines = [json.loads(line) for text in files for line in text.splitlines()]
    told = [[line[name] for name in ("to", "outcome", "written")] for line in lines if line["event"] == "export"]
    assert sorted(told) == [["note.txt/out.zip", "failed", 0], ["out", "success", 3]]


def test_verify_is_content_with_what_is_whole_and_finds_what_is_not(filled):
    assert "all as they should be" in run(filled, "verify").stdout
    first = next(path for path in sorted((filled / "data" / "files" / "objects").rglob("*")) if path.is_file())
    spoiled = bytearray(first.read_bytes())
    spoiled[-1] ^= 1
    first.chmod(0o600)
    first.write_bytes(spoiled)
    told = run_json(filled, "verify", status=1)
    assert told["checked"] == 3
    (finding,) = told["findings"]
    assert finding["kind"] == "corrupt"
    assert hashlib.sha256(spoiled).hexdigest() not in finding["key"]


def test_a_rebuilt_index_holds_what_the_old_one_held(filled):
    before = run_json(filled, "stats")
    for path in (filled / "data").glob("index.sqlite*"):
        path.unlink()
    assert run_json(filled, "stats")["instances"] == 0
    assert run_json(filled, "rebuild-index", "--yes")["instances"] == 3
    assert run_json(filled, "stats") == before


@pytest.mark.parametrize("spoiled", [slice(0, 7000), slice(4096, 60000)], ids=["its head", "its tables"])
def test_a_damaged_index_is_put_aside_and_made_anew(filled, spoiled):
    before = run_json(filled, "stats")
    index = filled / "data" / "index.sqlite"
    data = bytearray(index.read_bytes())
    data[spoiled] = b"\xa5" * len(data[spoiled])
    index.write_bytes(data)
    done = run(filled, "rebuild-index", "--yes")
    assert "index.sqlite-damaged-1" in done.stderr
    assert (filled / "data" / "index.sqlite-damaged-1").read_bytes() == bytes(data)
    assert run_json(filled, "stats") == before


def test_a_server_on_a_lost_index_says_how_to_get_it_back(filled):
    for path in (filled / "data").glob("index.sqlite*"):
        path.unlink()
    with served(filled) as server:
        assert server.stop() == 0
        assert "rebuild-index" in server.process.stderr.read()


def test_a_server_does_not_begin_on_a_half_rebuilt_index(filled):
    from dicomweb.commands.terminal import opened

    with opened(Config(data=filled / "data")) as archive:
        assert next(archive.rebuild())
    done = run(filled, "serve", "--http-port", "0", status=1)
    assert "rebuild-index" in done.stderr
    run(filled, "rebuild-index", "--yes")
    with served(filled):
        assert run_json(filled, "stats")["instances"] == 3


def test_stats_count_what_is_held(filled):
    told = run_json(filled, "stats")
    assert (told["patients"], told["studies"], told["series"], told["instances"]) == (1, 1, 1, 3)
    assert told["bytes"] == sum(len(ct(number)) for number in (1, 2, 3))
    assert "instances\t3" in run(filled, "stats").stdout


def test_config_shows_every_setting_its_value_and_where_it_came_from(tmp_path):
    (tmp_path / "roentgate.toml").write_text("limit_parts = 7\n")
    index = "postgresql://me:hunter2@db/pacs"
    done = run(tmp_path, "config", "--data", "elsewhere", ROENTGATE_INDEX=index)
    lines = {line.split("\t")[0]: line.split("\t")[1:3] for line in done.stdout.splitlines()}
    assert set(lines) == {spec.name for spec in settings()}
    assert lines["limit_parts"] == ["7", "roentgate.toml"]
    assert lines["index"] == ["postgresql://me:***@db/pacs", "ROENTGATE_INDEX"]
    assert lines["data"] == [str(tmp_path / "elsewhere"), "command line"]
    assert lines["http_port"] == ["8080", "default"]
    assert "hunter2" not in done.stdout


def test_config_as_a_file_reads_back_as_the_same_settings(tmp_path):
    (tmp_path / "roentgate.toml").write_text('limit_parts = 7\ncors_origins = ["https://a.example"]\n')
    before = run_json(tmp_path, "config")
    text = run(tmp_path, "config", "--toml").stdout
    assert "\nlimit_parts = 7\n" in text
    assert "\n# http_port = 8080\n" in text
    (tmp_path / "roentgate.toml").write_text(text)
    assert run_json(tmp_path, "config") == before
    (tmp_path / "roentgate.toml").write_text(re.sub(r"(?m)^# (\w+ = )", r"\1", text))
    values = {name: told["value"] for name, told in run_json(tmp_path, "config").items()}
    assert values == {name: told["value"] for name, told in before.items()}


def test_a_passwords_place_is_never_a_file_made_by_config(tmp_path):
    text = run(tmp_path, "config", "--toml", ROENTGATE_BRIDGE_TOKEN="hunter2").stdout
    assert "hunter2" not in text
    assert "\nbridge_token" not in text
