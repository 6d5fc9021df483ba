"""SQLite: one file, or memory; readers on connections of their own, one writer at a time (WAL).

Several processes take turns at writing by two lock files. Whoever wants the writer's place waits at the door first,
and leaves the door once inside; so a process that has just written cannot overtake the one that waits. SQLite by
itself lets a waiting process starve for seconds.

A commit writes to the log of writes (WAL) and ends the turn; then the log is synced, which is what the writer waits
for. So nobody's turn takes as long as a sync, and a sync makes all durable that was committed before it. What is
committed can be read a moment before that (see `SqliteEngine.settle`).

All processes with one file run on one machine, since what tells them of each other's writes (WAL) is memory that they
share. On a folder that several machines see, the first one has it, and the others are refused.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NoReturn

from dicomweb.errors import BadSetting, Conflict, Damaged, Error, Incompatible, OutOfSpace, Unavailable
from dicomweb.index import matchers, owners, upgrades
from dicomweb.index.schema import Dialect
from dicomweb.index.session import Deadline, SqlRow, Values
from dicomweb.index.wal import Log

try:
    import fcntl
except ImportError:  # Windows: SQLite's own waiting has to do
    fcntl = None  # type: ignore[assignment]

OLDEST = (3, 34, 0)
"""The first version with trigrams."""

_WAIT = 15.0
_IDLE_READERS = 32
_STEPS = 20_000
"""Steps of SQLite's machine, about a millisecond, between looks at the deadline."""
_MAPPED = 1 << 31


class SqliteSession:
    """A connection in use (see `Session`)."""

    dialect: Dialect = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        return self.connection.execute(sql, values).fetchall()

    def planned(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        return self.rows(sql, values)

    def run(self, sql: str, values: Values = ()) -> None:
        """See Session."""
        self.connection.execute(sql, values)

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """See Session."""
        self.connection.executemany(sql, rows)

    def insert(self, table: str, columns: Sequence[str], values: Values) -> int:
        """See Session."""
        number = self.connection.execute(_insertion(table, tuple(columns)), values).lastrowid
        assert number is not None
        return number

    def close(self) -> None:
        """End the use."""


@lru_cache(maxsize=64)
def _insertion(table: str, columns: tuple[str, ...]) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"


class _Reading(SqliteSession):
    """A session with a deadline: past it the query that runs is interrupted, and no other one begins."""

    def __init__(self, connection: sqlite3.Connection, deadline: Deadline) -> None:
        super().__init__(connection)
        self._deadline = deadline
        connection.set_progress_handler(deadline.over, _STEPS)

    def rows(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        self._deadline.check()
        try:
            return super().rows(sql, values)
        except sqlite3.OperationalError as error:
            if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
                raise self._deadline.error() from error
            raise

    def close(self) -> None:
        """Let the connection take its time again."""
        self.connection.set_progress_handler(None, 0)


def _session(connection: sqlite3.Connection, seconds: float) -> SqliteSession:
    return _Reading(connection, Deadline(seconds)) if seconds else SqliteSession(connection)


class SqliteEngine:
    """A SQLite database (see `Engine`).

    Args:
        path: of the file, or None for a database in memory, which this object alone sees.
        seconds: longest that a reading session may take; 0 is no limit.

    Raises:
        BadSetting: SQLite is too old.
        Incompatible: this program is too old for the tables, or processes of another machine use the file.
        Unavailable: the file cannot be opened.
    """

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path | None, seconds: float = 0.0) -> None:
        if sqlite3.sqlite_version_info < OLDEST:
            oldest = ".".join(str(part) for part in OLDEST)
            raise BadSetting(f"SQLite {oldest} or newer is needed, not {sqlite3.sqlite_version}")
        self._path = path
        self._seconds = seconds
        self._turns = _Turns(path)
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False
        self._boot = "" if path is None else owners.boot()
        with _translated():
            if path is not None:
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._machine = _Machine(path, self._boot) if path is not None and self._boot else None
            with self._turns:
                self._connection = self._connect()
                self._log = self._open_log()
            self._upgrade()

    def _open_log(self) -> Log | None:
        """Open the log of writes. On file systems that let processes share no memory there is none; then SQLite itself
        syncs each commit."""
        ((journal,),) = self._connection.execute("PRAGMA journal_mode").fetchall()
        if self._path is not None and journal == "wal":
            return Log(self._connection, self._path, Path(f"{self._path}-writer"))
        self._connection.execute("PRAGMA synchronous = FULL").close()
        return None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            ":memory:" if self._path is None else self._path,
            timeout=_WAIT,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        for setting in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "cache_size = -8192",
            "wal_autocheckpoint = 4000",
            "journal_size_limit = 67108864",
            "secure_delete = FAST",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}").close()
        matchers.register(connection)
        return connection

    def _connect_reader(self) -> sqlite3.Connection:
        """A reader maps the file into memory: rows that lie apart cost half, and readers share the pages."""
        connection = self._connect()
        connection.execute(f"PRAGMA mmap_size = {_MAPPED}").close()
        connection.execute("PRAGMA query_only = ON").close()
        return connection

    def _upgrade(self) -> None:
        """Make or upgrade the tables; an index that is up to date is opened without writing."""
        session = SqliteSession(self._connection)
        if session.rows("SELECT 1 FROM sqlite_master WHERE name = 'about'"):
            about = upgrades.read(session)
            if upgrades.is_current(about) and (not self._boot or "boot" in about):
                return
        with self.write() as session:
            session.run("CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)")
            upgrades.take(session)
            if self._boot:
                session.run("INSERT OR IGNORE INTO about (name, value) VALUES ('boot', ?)", (self._boot,))

    def _trusted(self, session: SqliteSession) -> str:
        """The boot of the machine since which nothing can have been lost, or ""."""
        rows = session.rows("SELECT value FROM about WHERE name = 'boot'")
        return str(rows[0][0]) if rows else ""

    def read(self, patient: bool = False) -> AbstractContextManager[SqliteSession]:
        """See Engine."""
        return self._read_memory(patient) if self._path is None else _Reader(self, 0.0 if patient else self._seconds)

    @contextmanager
    def _read_memory(self, patient: bool) -> Iterator[SqliteSession]:
        with self._turns, _translated():
            session = _session(self._connection, 0.0 if patient else self._seconds)
            try:
                yield session
            finally:
                session.close()

    def take_reader(self) -> sqlite3.Connection:
        """Return a connection that reads, for as long as the caller wants it."""
        try:
            return self._readers.pop()
        except IndexError:
            with _translated():
                return self._connect_reader()

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Keep a reader for the next one who wants to read, unless there are enough."""
        if len(self._readers) < _IDLE_READERS and not self._closed:
            self._readers.append(connection)
        else:
            connection.close()

    def write(self, lasting: bool = True) -> AbstractContextManager[SqliteSession]:
        """See Engine. A transaction that need not last is in the log, which is synced with the next one that must; so
        the log never has a gap."""
        return _Writer(self, lasting or not self._boot)

    def settle(self) -> None:
        """See Engine. Also what other processes committed is synced."""
        if self._log is None:
            return
        try:
            self._log.sync()
        except OSError:
            with _Writer(self, lasting=False):
                pass  # the log is mended before anything is written

    def begin(self) -> SqliteSession:
        """Take the turn and begin a transaction, which `end` ends."""
        self._turns.__enter__()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._turns.__exit__()
            raise
        try:
            if self._log is not None:
                self._log.mend()
        except BaseException:
            self.end(well=False)
            raise
        return SqliteSession(self._connection)

    def end(self, well: bool) -> None:
        """Commit what was begun, or undo it, and give the turn to the next one."""
        connection = self._connection
        try:
            if well:
                connection.execute("COMMIT")
        finally:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            finally:
                self._turns.__exit__()

    def doubtful(self) -> bool:
        """See Engine: whether the machine was started anew since."""
        if not self._boot:
            return False
        with self.read() as session:
            return self._trusted(session) != self._boot

    def trust(self) -> None:
        """See Engine."""
        with self.write() as session:
            session.run("UPDATE about SET value = ? WHERE name = 'boot'", (self._boot,))

    def check(self) -> None:
        """See Engine."""
        with self.write() as session:
            session.run("UPDATE about SET value = value WHERE name = 'schema'")
            upgrades.is_current(upgrades.read(session))

    def close(self) -> None:
        """See Engine."""
        self._closed = True
        with self._turns:
            while self._readers:
                self._readers.pop().close()
            self._connection.close()
            if self._log is not None:
                self._log.close()
        self._turns.close()
        if self._machine is not None:
            self._machine.close()


class _Reader:
    """A reading session from its beginning to its end. Every request has some, and a generator for each of its layers
    takes twice the time.

    Args:
        engine: whose connections are used.
        seconds: longest that it may take; 0 is no limit.
    """

    __slots__ = ("_connection", "_engine", "_seconds", "_used")

    def __init__(self, engine: SqliteEngine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds

    def __enter__(self) -> SqliteSession:
        self._connection = self._engine.take_reader()
        self._used = _session(self._connection, self._seconds)
        return self._used

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._used.close()
        finally:
            self._engine.give_back(self._connection)
        if isinstance(error, (sqlite3.Error, OSError)) and (ours := _translation(error)) is not None:
            raise ours from error


class _Writer:
    """A writing session from its beginning to its end; no generator, see `_Reader`.

    Args:
        engine: whose connection is used.
        lasting: it ends when what was committed is durable.
    """

    __slots__ = ("_engine", "_lasting")

    def __init__(self, engine: SqliteEngine, lasting: bool) -> None:
        self._engine = engine
        self._lasting = lasting

    def __enter__(self) -> SqliteSession:
        try:
            return self._engine.begin()
        except (sqlite3.Error, OSError) as error:
            _raise(error)

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            self._engine.end(well=error is None)
        except (sqlite3.Error, OSError) as failed:
            error = failed
        if error is None and self._lasting:
            self._engine.settle()
        if isinstance(error, (sqlite3.Error, OSError)):
            _raise(error)


class _Machine:
    """The claim of this machine on a file: held, by a lock that its processes share, as long as one of them lives.

    Args:
        path: of the database.
        boot: name of this run of the machine; containers that share a kernel have the same.

    Raises:
        Incompatible: another machine has it.
    """

    def __init__(self, path: Path, boot: str) -> None:
        self._file = -1
        if fcntl is None:
            return
        self._file = os.open(f"{path}-machine", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, boot.encode(), 0)
        except BlockingIOError:
            pass
        fcntl.flock(self._file, fcntl.LOCK_SH)
        if os.pread(self._file, 256, 0) != boot.encode():
            self.close()
            raise Incompatible(
                "the SQLite index is in use on another machine: only processes of one machine share it; replicas"
                " want PostgreSQL"
            )

    def close(self) -> None:
        """Give the claim up."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Turns:
    """The right to write, of one thread of one process at a time; in memory also the right to read.

    Args:
        path: of the database, or None where no other process can come.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        self._door = self._place = -1
        if path is not None and fcntl is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._door = os.open(f"{path}-door", os.O_CREAT | os.O_RDWR, 0o600)
                self._place = os.open(f"{path}-writer", os.O_CREAT | os.O_RDWR, 0o600)
            except OSError as error:
                raise Unavailable(f"the index's lock files cannot be opened: {error.strerror}") from error

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1
        if self._place >= 0 and self._depth == 1:
            fcntl.flock(self._door, fcntl.LOCK_EX)
            fcntl.flock(self._place, fcntl.LOCK_EX)
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._place >= 0 and self._depth == 0:
            fcntl.flock(self._place, fcntl.LOCK_UN)
        self._lock.release()

    def close(self) -> None:
        """Close the lock files."""
        if self._place >= 0:
            os.close(self._door)
            os.close(self._place)
            self._door = self._place = -1


@contextmanager
def _translated() -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        _raise(error)


def _raise(error: sqlite3.Error | OSError) -> NoReturn:
    """Raise our error for one of SQLite's, or that itself."""
    if (ours := _translation(error)) is None:
        raise error
    raise ours from error


def _translation(error: sqlite3.Error | OSError) -> Error | None:
    """Our error for one of SQLite's or of its files, or None if it is a fault of ours."""
    if isinstance(error, OSError):
        return Unavailable(f"the index cannot be opened: {error.strerror}")
    if isinstance(error, sqlite3.IntegrityError):
        return Conflict("the index has such a row already")
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")):
        return OutOfSpace("the disk that holds the index is full")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Unavailable("another process keeps the index busy; try again")
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Damaged("the index is damaged; `roentgate rebuild-index` makes it anew from the objects")
    if isinstance(error, sqlite3.OperationalError):
        return Unavailable("the index cannot be read or written")
    return None
