"""Searching: a plan is carried out, results are put together, and keys without column are tried one result after
the other, within a limit."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from dicomweb.access.rights import Scope
from dicomweb.errors import TooBroad, TookTooLong
from dicomweb.index import COUNT_LIMIT, Found, Row
from dicomweb.index import search as sql
from dicomweb.index.codes import Codes
from dicomweb.index.cursors import Places, read_cursor, write_cursor
from dicomweb.index.forms import storable
from dicomweb.index.ordering import stages
from dicomweb.index.results import Results
from dicomweb.index.search import Entrance, Plan
from dicomweb.index.session import Engine, Session, SqlRow, among, as_list, lock
from dicomweb.standard.attributes import BY_KEYWORD, Level
from dicomweb.standard.dictionary import keyword_of
from dicomweb.standard.matching import Absent, Anything, Key, Name, OneOf, Pattern, satisfies
from dicomweb.standard.query import Query

ReadMetadata = Callable[[Session, Sequence[int]], dict[int, bytes]]

_NARROW_ENOUGH = 200
_NARROW = 5_000

_CHUNK = 200
_BATCH = 20


class Finder:
    """Carries out searches.

    Args:
        engine: the database.
        codes: texts of SOP classes and transfer syntaxes.
        read_metadata: reads the metadata of versions.
        scan_limit: instances whose metadata one search may read.
    """

    def __init__(self, engine: Engine, codes: Codes, read_metadata: ReadMetadata, scan_limit: int) -> None:
        self._engine = engine
        self._results = Results(codes)
        self._read_metadata = read_metadata
        self._scan_limit = scan_limit
        self._places = Places()

    def search(self, query: Query, scope: Scope | None = None) -> Found:
        """See Index."""
        plan = sql.read_plan(query, self._engine.dialect, scope)
        place = None if query.cursor is None else read_cursor(plan, query.cursor)
        try:
            with self._engine.read() as session:
                entrance = _choose(session, plan)
                if plan.held_keys or plan.deep_keys:
                    return self._scan(session, plan, entrance, query, place)
                return self._page(session, plan, entrance, query, place)
        except TookTooLong as error:
            raise TookTooLong(f"{error}; {_why_slow(plan, query)}") from error

    def _page(
        self,
        session: Session,
        plan: Plan,
        entrance: Entrance | None,
        query: Query,
        place: Sequence[Any] | None,
    ) -> Found:
        offset = 0 if place is not None else query.offset
        if query.limit <= 0:
            total = _count(session, plan, entrance, place, offset + COUNT_LIMIT)
            return Found([], max(0, total - offset))
        key = self._places.key(session, plan) if place is None else None
        if offset and key is not None:
            place = self._places.get(key, offset)
            offset = 0 if place is not None else offset
        # One row more than asked for says whether there are more at all. What came in by an entrance has to be
        # sorted as a whole anyway, so that the rest of it may be counted by the way.
        more = 1 if entrance is None else COUNT_LIMIT
        found = _read(session, plan, entrance, place, query.limit + more, offset)
        remaining = len(found) - query.limit
        if remaining <= 0:
            return Found(self._results.rows(session, plan.level, found))
        found = found[: query.limit]
        place = found[-1][sql.WIDTH[plan.level] :]
        if entrance is None:
            remaining = _count(session, plan, entrance, place, COUNT_LIMIT)
        if key is not None:
            self._places.put(key, query.offset + query.limit, place)
        return Found(self._results.rows(session, plan.level, found), remaining, write_cursor(plan, place))

    # -- keys without column ---------------------------------------------------------------------------------
    def _scan(
        self,
        session: Session,
        plan: Plan,
        entrance: Entrance | None,
        query: Query,
        place: Sequence[Any] | None,
    ) -> Found:
        offset = 0 if place is not None else query.offset
        rows: list[Row] = []
        last: SqlRow | None = None
        matched = 0
        try:
            for found, row in self._matching(session, plan, entrance, place):
                matched += 1
                if offset < matched <= offset + query.limit:
                    rows.append(row)
                    last = found
                elif matched == offset + query.limit + COUNT_LIMIT:
                    break
        except TooBroad:
            # A full page is an answer; how many more there are is known as far as was read.
            if not rows or len(rows) < query.limit:
                raise
            matched = max(matched, offset + query.limit + 1)
        remaining = max(0, matched - offset - query.limit)
        cursor = None
        if remaining and last is not None:
            cursor = write_cursor(plan, last[sql.WIDTH[plan.level] :])
        return Found(rows, remaining, cursor)

    def _matching(
        self, session: Session, plan: Plan, entrance: Entrance | None, place: Sequence[Any] | None
    ) -> Iterator[tuple[SqlRow, Row]]:
        """Yield what matches all keys, in order; raise TooBroad beyond the limit."""
        budget = self._scan_limit
        width = sql.WIDTH[plan.level]
        while True:
            found = _read(session, plan, entrance, place, _CHUNK)
            rows = self._results.rows(session, plan.level, found)
            candidates = [
                (place, row) for place, row in zip(found, rows, strict=True) if satisfies(plan.held_keys, row.dataset)
            ]
            if plan.deep_keys:
                wanted = [place[0] for place, _ in candidates]
                for group in range(0, len(wanted), _BATCH):
                    ids = wanted[group : group + _BATCH]
                    deep, budget = self._deep(session, plan, ids, budget)
                    yield from (pair for pair in candidates[group : group + _BATCH] if pair[0][0] in deep)
            else:
                budget -= len(found)
                if budget < 0:
                    raise self._too_broad(plan)
                yield from candidates
            if len(found) < _CHUNK:
                return
            place = found[-1][width:]

    def _deep(self, session: Session, plan: Plan, ids: Sequence[int], budget: int) -> tuple[set[int], int]:
        """Return those results that have an instance whose metadata satisfy the keys, and what is left to read."""
        statement = sql.instances(plan, as_list(plan.dialect, ids))
        below = session.rows(statement.sql, statement.values)
        needed = [f'"{key.tag:08X}"'.encode() for key in plan.deep_keys if _must_be_there(key)]
        accepted: set[int] = set()
        start = 0
        while start < len(below):
            batch: list[SqlRow] = []
            while start < len(below) and len(batch) < _BATCH:
                if below[start][0] not in accepted:
                    batch.append(below[start])
                start += 1
            budget -= len(batch)
            if budget < 0:
                raise self._too_broad(plan)
            metadata = self._read_metadata(session, [version for _, version in batch])
            for owner, version in batch:
                text = metadata.get(version)
                if text is None or owner in accepted or not all(tag in text for tag in needed):
                    continue
                if satisfies(plan.deep_keys, orjson.loads(text)):
                    accepted.add(owner)
        return accepted, budget

    def _too_broad(self, plan: Plan) -> TooBroad:
        names = _names((*plan.deep_keys, *plan.held_keys))
        verb = "has" if "," not in names else "have"
        return TooBroad(
            f"{names} {verb} no index, and this search would have to read more than {self._scan_limit:,} instances; "
            f"add a key that has one, such as {_ADVICE[plan.level]}"
        )

    # -- any identifier -----------------------------------------------------------------------------------------
    def in_scope(self, study: str, scope: Scope) -> bool:
        """See Index."""
        if study in scope.studies or not scope.patients:
            return study in scope.studies
        condition = sql.scope_condition(self._engine.dialect, "st", scope)
        with self._engine.read() as session:
            wanted = f"SELECT 1 FROM study st WHERE st.uid = ? AND st.visible = 1 AND {condition.sql}"
            return bool(session.rows(wanted, (storable(study), *condition.values)))

    def lookup(self, text: str, limit: int, scope: Scope | None = None) -> list[Row]:
        """See Index."""
        text = text.strip(" \0")
        rows: list[Row] = []
        if not text:
            return rows
        for level, keyword in _LOOKED_UP:
            if len(rows) >= limit:
                break
            query = Query(level, keys=(Key(BY_KEYWORD[keyword].tag, OneOf((text,))),))
            plan = sql.read_plan(query, self._engine.dialect, scope)
            with self._engine.read() as session:
                found = _read(session, plan, _choose(session, plan), None, limit - len(rows))
                rows += self._results.rows(session, level, found)
        return rows


_LOOKED_UP: tuple[tuple[Level, str], ...] = (
    ("patient", "PatientID"),
    ("study", "AccessionNumber"),
    ("study", "StudyInstanceUID"),
    ("series", "SeriesInstanceUID"),
    ("instance", "SOPInstanceUID"),
)

_ADVICE: dict[Level, str] = {
    "patient": "PatientID or PatientName",
    "study": "StudyDate, PatientID or AccessionNumber",
    "series": "StudyInstanceUID, StudyDate, PatientID or Modality",
    "instance": "StudyInstanceUID, SeriesInstanceUID or StudyDate",
}


def _names(keys: Sequence[Key]) -> str:
    return ", ".join(dict.fromkeys(keyword_of(key.tag) or f"{key.tag:08X}" for key in keys))


def _why_slow(plan: Plan, query: Query) -> str:
    """Say which keys make a search slow: those without index before wildcards and names, those before all others."""
    keys = [key for key in query.keys if not isinstance(key.match, Anything)]
    slow = (*plan.deep_keys, *plan.held_keys) or [key for key in keys if isinstance(key.match, Pattern | Name)] or keys
    if not slow:
        return "a large offset makes it slow, where the Link to the next page does not" if query.offset else "try again"
    makes = "makes" if len(slow) == 1 else "make"
    return f"{_names(slow)} {makes} it slow: give more of the value, or add a key such as {_ADVICE[plan.level]}"


def _must_be_there(key: Key) -> bool:
    """Say whether a data set without the attribute's tag cannot satisfy the key."""
    return not key.creator and not isinstance(key.match, Absent)


def _read(
    session: Session,
    plan: Plan,
    entrance: Entrance | None,
    place: Sequence[Any] | None,
    limit: int,
    offset: int = 0,
) -> list[SqlRow]:
    """Return the rows of a page; an offset is counted from the beginning, where there is no place."""
    found: list[SqlRow] = []
    ask = session.rows if plan.direct else session.planned
    for stage in stages(plan.terms, place):
        if len(found) < limit:
            statement = sql.page(plan, entrance, stage, limit - len(found), offset)
            found += ask(statement.sql, statement.values)
    return found


def _count(session: Session, plan: Plan, entrance: Entrance | None, place: Sequence[Any] | None, limit: int) -> int:
    """Count results after a place, up to a limit."""
    total = 0
    for stage in stages(plan.terms, place):
        if total < limit:
            statement = sql.count(plan, entrance, stage, limit - total)
            ((found,),) = session.planned(statement.sql, statement.values)
            total += found
    return total


def _choose(session: Session, plan: Plan) -> Entrance | None:
    """Choose the way in (see `search`), and let a range of dates be read as a range of the order."""
    many = "SELECT 1 FROM study WHERE \"StudyDate\" >= '\\' AND \"StudyDate\" < ']' LIMIT 1"
    if plan.days is not None and session.rows(many):
        plan.days = None
        plan.entrances = [entrance for entrance in plan.entrances if entrance.condition is not None]
    best: Entrance | None = None
    if plan.entrances and not plan.direct:
        narrowest = _narrow(session)
        for entrance in plan.entrances:
            if narrowest <= _NARROW_ENOUGH:
                break
            ((found,),) = session.planned(entrance.count.sql, (*entrance.count.values, narrowest))
            if found < narrowest:
                narrowest, best = found, entrance
    if best is not None and best.condition is None:
        best = None
    if best is None and plan.days is not None:
        plan.conditions.insert(0, plan.days)
    return best


def _narrow(session: Session) -> int:
    """Return how many studies an entrance may leave and still beat the order.

    Reading by an entrance costs all that it leaves. Reading in order costs, for counting up to COUNT_LIMIT, that
    many divided by the share that matches; the two are equal at the square root of the product.
    """
    ((last,),) = session.rows("SELECT max(id) FROM study")
    return max(_NARROW, math.isqrt(COUNT_LIMIT * (last or 0)))


def foreign(session: Session, studies: Iterable[str], scope: Scope, locked: bool = False) -> tuple[set[str], set[str]]:
    """Return those studies that are there and of no patient in a scope, and those that are not there.

    Args:
        session: where they are looked up.
        studies: Study Instance UIDs.
        scope: of whoever wants to store to them.
        locked: lock those that are there until the transaction ends.
    """
    by_row = {storable(study): study for study in studies}
    if not by_row:
        return set(), set()
    condition, value = among(session.dialect, "uid", sorted(by_row))
    rows = session.rows(
        f"SELECT uid FROM study WHERE {condition} ORDER BY uid{lock(session.dialect) if locked else ''}", (value,)
    )
    there = {row[0] for row in rows}
    ours = sql.scope_condition(session.dialect, "st", scope)
    condition, value = among(session.dialect, "st.uid", sorted(there))
    admitted = session.rows(
        f"SELECT st.uid FROM study st WHERE {condition} AND st.visible = 1 AND {ours.sql}", (value, *ours.values)
    )
    barred = there.difference(row[0] for row in admitted)
    return {by_row[uid] for uid in barred}, {by_row[uid] for uid in by_row.keys() - there}
