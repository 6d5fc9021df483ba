"""Upgrades: which versions of the tables a program works on, and the steps that lead from one to the next.

A step expands or contracts. What expands (a table, an index, a column with a default) is passed over by the program of
the version before, which goes on beside the new one, and to which a release can be taken back. What contracts takes
away or changes what older programs read or write, the bytes in columns included; it comes a release after the step
that brought its replacement, when nobody needs the old any more.

The table `about` says how many steps were taken (`schema`) and the version of the oldest program that works on what
they left (`oldest`). A program that is older than that neither starts nor stays ready.
"""

from dicomweb.errors import Incompatible
from dicomweb.index import schema
from dicomweb.index.session import Session

_REMEMBER = "INSERT INTO about (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


def version() -> int:
    """Return the version of the tables that this program makes."""
    return len(schema.STEPS)


def read(session: Session) -> dict[str, str]:
    """Return what the table `about` says, which must be there."""
    return dict(session.rows("SELECT name, value FROM about"))


def remember(session: Session, name: str, value: object) -> None:
    """Have the table `about` say something."""
    session.run(_REMEMBER, (name, str(value)))


def is_current(about: dict[str, str]) -> bool:
    """Say whether no step is missing.

    Raises:
        Incompatible: this program is too old.
    """
    oldest, found = int(about.get("oldest", "0")), int(about.get("schema", "0"))
    if oldest > version():
        raise Incompatible(
            f"the index was made by a newer Roentgate: its tables (schema {found}) are for programs of schema {oldest}"
            f" and later, and this one is of schema {version()}"
        )
    return found >= version()


def take(session: Session) -> None:
    """Take the steps that are missing, in the one transaction of the one process that does.

    Raises:
        Incompatible: as `is_current`.
    """
    about = read(session)
    if is_current(about):
        return
    found = int(about.get("schema", "0"))
    for step in schema.STEPS[found:]:
        for statement in step.statements(session.dialect):
            session.run(statement)
    remember(session, "schema", version())
    remember(session, "oldest", max(number for number, step in enumerate(schema.STEPS, 1) if step.contracts))
