"""PostgreSQL: a pool of connections; any number of processes write at once.

psycopg is imported when this module is. A read that finds its connection lost is repeated on another one, and so is a
write, unless it was lost at the commit, of which nobody can say whether it took place.
"""

import hashlib
import logging
import math
import re
import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from urllib.parse import quote

from dicomweb.errors import BadSetting, Incompatible, OutOfSpace, Unavailable
from dicomweb.index import feed, upgrades
from dicomweb.index.schema import TRIGRAMS, Dialect
from dicomweb.index.session import Again, Deadline, SqlRow, Values
from dicomweb.telemetry.measures import Histogram, Level

try:
    import psycopg
    import psycopg_pool
    from psycopg import errors
except ImportError as error:
    raise BadSetting("index: postgresql: needs the database driver: pip install roentgate[postgres]") from error

log = logging.getLogger(__name__)

_CONNECTIONS = 16
_WAIT = 10.0
_UPGRADE_ATTEMPTS = 30
_RECONNECT = 2.0
"""Seconds for which the pool tries to replace a connection by itself, with growing pauses; after that whoever asks for
one makes it try anew. Minutes of growing pauses would outlast a database that is back."""
_LOGIN = ("user", "password")
_LOCK = 0x526F656E74676174
"""Names the advisory lock under which tables are made and upgraded."""

POOL = Level("roentgate_index_connections_limit", "Connections to the database that may be open.")
BUSY = Level("roentgate_index_connections_busy", "Connections to the database in use.")
WAITED = Histogram("roentgate_index_connection_wait_seconds", "Time until a connection to the database was free.")

_converted: dict[str, str] = {}


def _convert(sql: str) -> str:
    found = _converted.get(sql)
    if found is None:
        found = sql.replace("?", "%s")
        if len(_converted) < 10_000:
            _converted[sql] = found
    return found


class PostgresSession:
    """A connection in use (see `Session`)."""

    dialect: Dialect = "postgresql"

    def __init__(self, connection: "psycopg.Connection[Any]") -> None:
        self.connection = connection

    def _execute(self, sql: str, values: Values, prepare: bool | None = None) -> "psycopg.Cursor[Any]":
        # In a pipeline the answers of one cursor's statements would mix.
        return self.connection.cursor(binary=True).execute(_convert(sql), values, prepare=prepare)

    def rows(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        return self._execute(sql, values).fetchall()

    def planned(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session: a prepared statement gets one plan for all values, after it was asked a few times."""
        return self._execute(sql, values, prepare=False).fetchall()

    def run(self, sql: str, values: Values = ()) -> None:
        """See Session."""
        self._execute(sql, values)

    def many(self, sql: str, rows: Iterable[Values]) -> None:
        """See Session."""
        self.connection.cursor().executemany(_convert(sql), rows)

    def insert(self, table: str, columns: Sequence[str], values: Values) -> int:
        """See Session."""
        names = ", ".join(f'"{column}"' for column in columns)
        sql = (
            f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(columns))}) "
            "ON CONFLICT DO NOTHING RETURNING id"
        )
        row = self.connection.execute(sql, values).fetchone()
        if row is None:
            raise Again("another transaction inserted the same row")
        number: int = row[0]
        return number


def _logging_in(login: Callable[[], str] | None) -> "type[psycopg.Connection[Any]]":
    """The class of connections that ask `login` who they are."""
    if login is None:
        return psycopg.Connection
    ask = login

    class LoggingIn(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, conninfo: str = "", **kwargs: Any) -> "psycopg.Connection[Any]":  # type: ignore[override]
            told = psycopg.conninfo.conninfo_to_dict(ask())
            kwargs |= {name: told[name] for name in _LOGIN if name in told}
            return super().connect(conninfo, **kwargs)

    return LoggingIn


class PostgresEngine:
    """A PostgreSQL database (see `Engine`).

    Args:
        url: as libpq reads it.
        login: gives a URL whose user and password each new connection takes, so that they may change while we run.
        seconds: longest that a reading session may take; 0 is no limit.

    Raises:
        BadSetting: the URL is malformed.
        Incompatible: this program is too old for the tables.
        Unavailable: the database does not answer.
    """

    dialect: Dialect = "postgresql"

    def __init__(self, url: str, login: Callable[[], str] | None = None, seconds: float = 0.0) -> None:
        settings: dict[str, Any] = {
            "autocommit": True,
            "connect_timeout": 5,
            "application_name": "roentgate",
            "keepalives_idle": 30,
            "tcp_user_timeout": 20_000,
        }
        try:
            given = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            raise BadSetting("index: not a PostgreSQL URL such as postgresql://user@host/database") from error
        kwargs = {name: value for name, value in settings.items() if name not in given}
        self._seconds = seconds
        # The pool would try again and again; at start, whoever waits is told at once what is wrong.
        try:
            psycopg.connect(url, **kwargs).close()
        except psycopg.OperationalError as error:
            raise Unavailable(f"the index's database takes no connection: {_why(error)}") from error
        self._pool = psycopg_pool.ConnectionPool(
            url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=_WAIT,
            reconnect_timeout=_RECONNECT,
            kwargs=kwargs,
            configure=self._limit if seconds else None,
            open=False,
            connection_class=_logging_in(login),
        )
        self._pool.open()
        POOL.add(_CONNECTIONS)
        try:
            self._upgrade()
        except BaseException:
            self.close()
            raise

    def _limit(self, connection: "psycopg.Connection[Any]") -> None:
        """Have the server stop statements of this connection that take too long."""
        connection.execute(f"SET statement_timeout = {math.ceil(self._seconds * 1000)}")

    def _upgrade(self) -> None:
        """Take the steps that are missing; of processes that start at once one does, the others wait for it. It waits
        itself for those that use a table, but a moment at a time only, since all others would wait behind it."""
        for attempt in range(_UPGRADE_ATTEMPTS):
            try:
                with self.write() as session:
                    session.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                    session.run("SET LOCAL lock_timeout = '2s'")
                    session.run("CREATE TABLE IF NOT EXISTS about (name text PRIMARY KEY, value text NOT NULL)")
                    upgrades.take(session)
                    began = int(upgrades.read(session).get("feed", "0"))
                    upgrades.remember(session, "feed", feed.start(session, began))
                break
            except Again:
                if attempt + 1 == _UPGRADE_ATTEMPTS:
                    raise
        self._add_trigrams()

    def _add_trigrams(self) -> None:
        try:
            with self.write() as session:
                session.rows("SELECT pg_advisory_xact_lock(?)", (_LOCK,))
                if session.rows("SELECT to_regclass('patient_text_patientid')") == [(None,)]:
                    for statement in TRIGRAMS:
                        session.run(statement)
        except psycopg.Error as error:
            log.warning(
                "searches by a part of a text will be slow: the extension pg_trgm cannot be created (%s)",
                type(error).__name__,
            )

    @contextmanager
    def read(self, patient: bool = False) -> Iterator[PostgresSession]:
        """See Engine."""
        limited = bool(self._seconds) and not patient
        with _translated():
            session = _Reading(self, Deadline(self._seconds if limited else 0.0))
            try:
                if self._seconds and patient:
                    session.connection.execute("SET statement_timeout = 0")
                yield session
            finally:
                if self._seconds and patient and not session.connection.closed:
                    self._limit(session.connection)
                self.give_back(session.connection)

    @contextmanager
    def write(self, lasting: bool = True) -> Iterator[PostgresSession]:
        """See Engine; all transactions last, since we would not learn that the server went down."""
        with _translated():
            connection = self.take()
            committing = False
            try:
                # Statements whose answers nobody waits for travel together.
                with connection.pipeline():
                    connection.execute("BEGIN")
                    if self._seconds:
                        connection.execute("SET LOCAL statement_timeout = 0")
                    yield PostgresSession(connection)
                    committing = True
                    connection.execute("COMMIT")
            except errors.ReadOnlySqlTransaction as error:  # it has become a standby: the writer is another one now
                connection.close()
                raise Again("the index's database takes no writes there any more") from error
            except BaseException as error:
                if not connection.closed:
                    connection.rollback()
                elif isinstance(error, psycopg.OperationalError) and not committing:
                    raise Again("the connection to the index's database was lost") from error
                raise
            finally:
                self.give_back(connection)

    def settle(self) -> None:
        """See Engine; PostgreSQL shows nothing before it is durable."""

    def doubtful(self) -> bool:
        """See Engine."""
        return False

    def trust(self) -> None:
        """See Engine."""

    def take(self) -> "psycopg.Connection[Any]":
        """Take a connection that works; those that died while they were idle are given up."""
        for _ in range(_CONNECTIONS + 1):
            begun = perf_counter()
            connection = self._pool.getconn()
            WAITED.observe(perf_counter() - begun)
            BUSY.add(1)
            if not _is_dead(connection):
                return connection
            connection.close()
            self.give_back(connection)
        raise Unavailable("the index's database closes its connections")

    def give_back(self, connection: "psycopg.Connection[Any]") -> None:
        """Return a connection to the pool, which replaces it if it is closed."""
        BUSY.add(-1)
        self._pool.putconn(connection)

    def check(self) -> None:
        """See Engine."""
        with self.write() as session:
            session.run("UPDATE about SET value = value WHERE name = 'schema'")
            upgrades.is_current(upgrades.read(session))

    def close(self) -> None:
        """See Engine."""
        if not self._pool.closed:
            POOL.add(-_CONNECTIONS)
        self._pool.close()


def make_schema(url: str, name: str) -> str:
    """Make a schema for tables of their own, if it is not there, and return the URL that works in it.

    Raises:
        Unavailable: the database does not answer.
    """
    plain = re.sub("[^a-z0-9]+", "_", name.lower())[:30]
    schema = f"visit_{plain}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"
    with _translated(), psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    given = psycopg.conninfo.conninfo_to_dict(url)
    options = f"{given.get('options') or ''} -csearch_path={schema},public".strip()
    return f"{url}{'&' if '?' in url else '?'}options={quote(options)}"


class _Reading(PostgresSession):
    """A session that repeats a query on another connection when its own is lost; each query stands alone."""

    def __init__(self, engine: PostgresEngine, deadline: Deadline) -> None:
        super().__init__(engine.take())
        self._engine = engine
        self._deadline = deadline

    def rows(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        return self._repeated(super().rows, sql, values)

    def planned(self, sql: str, values: Values = ()) -> list[SqlRow]:
        """See Session."""
        return self._repeated(super().planned, sql, values)

    def _repeated(self, ask: Callable[[str, Values], list[SqlRow]], sql: str, values: Values) -> list[SqlRow]:
        self._deadline.check()
        try:
            return ask(sql, values)
        except errors.QueryCanceled as error:
            raise self._deadline.error() from error
        except psycopg.OperationalError:
            if not self.connection.closed:
                raise
        self._engine.give_back(self.connection)
        self.connection = self._engine.take()
        return ask(sql, values)


def _is_dead(connection: "psycopg.Connection[Any]") -> bool:
    """Say whether the server has closed an idle connection: then there is something to read, its last words."""
    if connection.closed:
        return True
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def _why(error: psycopg.OperationalError) -> str:
    """What libpq says of a connection that was not made; it names host, user and database, never a password."""
    return str(error).partition("\n")[0].removeprefix("connection failed: ").rstrip(".")


@contextmanager
def _translated() -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except (
        errors.SerializationFailure,
        errors.DeadlockDetected,
        errors.LockNotAvailable,
        errors.UniqueViolation,
    ) as error:
        raise Again("another transaction got in the way") from error
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        log.error("the index has other tables than are asked for: %s", error.diag.message_primary)
        raise Incompatible("the index has other tables than this version of Roentgate works on") from error
    except (errors.DiskFull, errors.OutOfMemory) as error:
        raise OutOfSpace("the index's database has no room left") from error
    except (psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests, psycopg_pool.PoolClosed) as error:
        raise Unavailable("the index's database does not answer") from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable("the index's database does not answer") from error
