"""A Query as SQL text and parameters; pure (PS3.18 8.3.4 and 10.6, PS3.4 C.4.1).

Keys on columns become conditions, keys without column are left over. Results are totally ordered, and a page
begins where the last one ended (keyset), so that page 1,000 costs what page 1 does.

SQLite's planner does not know how many rows a condition leaves, PostgreSQL's does not for one on the series of a study:
for them a plan lists *entrances*, conditions with an index of their own and a query that counts, up to a limit, what
they leave; the caller counts and names the narrowest, and the studies are read from there instead of in their order.
"""

from dataclasses import dataclass, field
from typing import Any

from dicomweb.access.rights import Scope
from dicomweb.index.columns import CODES, COUNTS, LISTS, UIDS, Alias, column_of
from dicomweb.index.conditions import (
    ALWAYS,
    LAST,
    NEVER,
    Condition,
    both,
    equals,
    moment_condition,
    number_condition,
    several,
    text_condition,
)
from dicomweb.index.forms import LONGEST, kind_of, storable
from dicomweb.index.ordering import Stage, Term, order_of
from dicomweb.index.rows import ONLINE
from dicomweb.index.schema import STUDY_ORDERS, TEXT_SEARCHED, Dialect
from dicomweb.index.session import as_list, one_of
from dicomweb.standard.attributes import BY_KEYWORD, BY_TAG, LEVELS, Level
from dicomweb.standard.matching import (
    Absent,
    Anything,
    Between,
    Key,
    Match,
    Moment,
    Name,
    Number,
    OneOf,
    Pattern,
    accepts,
)
from dicomweb.standard.query import Query
from dicomweb.standard.syntaxes import stored_as

_STUDY_DATE = BY_KEYWORD["StudyDate"].tag
_INSTANCE = BY_KEYWORD["SOPInstanceUID"].tag
_MODALITY = BY_KEYWORD["Modality"].tag
_MODALITIES = BY_KEYWORD["ModalitiesInStudy"].tag
_OF_DAYS = (_STUDY_DATE, _MODALITY, _MODALITIES)
"""Keys among which PostgreSQL's planner has to be told of a way in; with any other it finds a better one."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """A condition on studies with an index of its own.

    Attributes:
        condition: leaves all that match, and maybe more; None where the order itself is the way in (dates).
        count: counts what it leaves, up to the limit that is the last parameter.
    """

    condition: Condition | None
    count: Condition


@dataclass(slots=True)
class Plan:
    """A query taken apart.

    Attributes:
        level: of the results.
        tables: aliases of the tables joined, from above.
        conditions: what SQL decides.
        below: conditions on what is below the level; one series or instance must satisfy all of them.
        held_keys: left over; decided on what the result holds itself.
        deep_keys: left over; decided on the metadata of instances.
        terms: the order, total.
        days: the Study Date lies in this range, if each study has one date at most.
        entrances: see the module; of modalities only on PostgreSQL.
        direct: a UID leads to the results.
    """

    dialect: Dialect
    level: Level
    tables: tuple[Alias, ...]
    conditions: list[Condition] = field(default_factory=list)
    below: dict[Alias, list[Condition]] = field(default_factory=dict)
    held_keys: tuple[Key, ...] = ()
    deep_keys: tuple[Key, ...] = ()
    terms: tuple[Term, ...] = ()
    days: Condition | None = None
    entrances: list[Entrance] = field(default_factory=list)
    direct: bool = False
    walks_days: bool = True


def read_plan(query: Query, dialect: Dialect, scope: Scope | None = None) -> Plan:
    """Take a query apart, for what is in a scope if there is one.

    Raises:
        BadQuery: `orderby` names what is no column of the level or above.
    """
    tables: dict[Level, tuple[Alias, ...]] = {
        "patient": ("pt",),
        "study": ("st",),
        "series": ("st", "se"),
        "instance": ("st", "se", "ins"),
    }
    plan = Plan(dialect, query.level, tables[query.level])
    for uid, alias in ((query.study, "st"), (query.series, "se")):
        if uid is not None:
            _place(plan, alias, equals(dialect, f"{alias}.uid", [storable(uid)]))  # type: ignore[arg-type]
            plan.direct = True
    if scope is not None:
        plan.conditions.append(scope_condition(dialect, plan.tables[0], scope))
    held, deep = [], []
    for key in query.keys:
        if isinstance(key.match, Anything):
            continue
        place = None if key.creator else _condition(plan, key)
        if place is not None:
            _place(plan, *place)
            if place[0] == "ins" and key.tag == _INSTANCE:
                _place(plan, "ins", Condition("ins.current = 1"))
            _entrance(plan, key)
        elif _is_held(query.level, key):
            held.append(key)
        else:
            deep.append(key)
    if dialect == "postgresql" and not all(
        key.tag in _OF_DAYS for key in query.keys if not isinstance(key.match, Anything)
    ):
        plan.entrances.clear()
    plan.held_keys, plan.deep_keys = tuple(held), tuple(deep)
    plan.terms = order_of(query)
    plan.walks_days = not query.order and query.study is None
    return plan


def scope_condition(dialect: Dialect, alias: Alias, scope: Scope) -> Condition:
    """Return the condition that a study, or a patient as a whole, is in a scope."""
    found = []
    for issuer in sorted({issuer for _, issuer in scope.patients}):
        ids = [storable(id)[:LONGEST] for id, other in sorted(scope.patients) if other == issuer]
        of_issuer = Condition(f'{alias}."IssuerOfPatientID" = ?', (storable(issuer)[:LONGEST],))
        found.append(both([Condition(one_of(dialect, f'{alias}."PatientID"'), (as_list(dialect, ids),)), of_issuer]))
    if alias == "st" and scope.studies:
        studies = as_list(dialect, [storable(uid) for uid in sorted(scope.studies)])
        found.append(Condition(one_of(dialect, "st.uid"), (studies,)))
    return both(found, "OR") if found else NEVER


def _is_held(level: Level, key: Key) -> bool:
    """Say whether an attribute is held with the results themselves or what is above them."""
    attribute = BY_TAG.get(key.tag)
    return not key.creator and attribute is not None and LEVELS.index(attribute.level) <= LEVELS.index(level)


def _place(plan: Plan, alias: Alias, condition: Condition) -> None:
    if alias in plan.tables:
        plan.conditions.append(condition)
    else:
        plan.below.setdefault(alias, []).append(condition)


def _condition(plan: Plan, key: Key) -> tuple[Alias, Condition] | None:
    """Return the table of a key's column and the condition, or None if it has no column or cannot be decided
    there."""
    attribute = BY_TAG.get(key.tag)
    if attribute is None:
        return None
    keyword, dialect = attribute.keyword, plan.dialect
    alias, column = column_of(plan.level, attribute)
    found: Condition | None = None
    if keyword in UIDS:
        found = _uid_condition(dialect, UIDS[keyword], key.match)
    elif keyword in CODES:
        found = _code_condition(dialect, CODES[keyword], _as_stored(keyword, key.match))
    elif keyword in LISTS:
        found = text_condition(dialect, LISTS[keyword], "text", key.match)
    elif keyword in COUNTS:
        found = _count_condition(dialect, COUNTS[keyword], key.match)
        if attribute.level == "patient" and plan.level != "patient":
            return None
    elif keyword == "InstanceAvailability":
        found = ALWAYS if accepts(key.match, ONLINE) else NEVER
        return (plan.tables[-1], found)
    elif not attribute.column:
        return None
    elif isinstance(key.match, Moment):
        time = BY_TAG.get(key.match.time)
        if time is not None and time.column and kind_of(attribute) == "date" and kind_of(time) == "time":
            other, sibling = column_of(plan.level, time)
            if other == alias:
                found = moment_condition(dialect, column, sibling, key.match)
    elif kind_of(attribute) == "number":
        found = number_condition(dialect, column, f"{alias}.odd", key.tag, key.match)
    else:
        found = text_condition(dialect, column, kind_of(attribute), key.match)
    return None if found is None else (alias, found)


def _uid_condition(dialect: Dialect, column: str, match: Match) -> Condition | None:
    if isinstance(match, OneOf):
        return equals(dialect, column, [storable(value) for value in match.values if value])
    return text_condition(dialect, column, "text", match)


def _as_stored(keyword: str, match: Match) -> Match:
    """Of Available Transfer Syntax UID, what an instance is sent in, make what it may be stored in."""
    if keyword != "AvailableTransferSyntaxUID" or not isinstance(match, OneOf):
        return match
    return OneOf(tuple(uid for value in match.values for uid in (stored_as(value) if value else (value,))))


def _code_condition(dialect: Dialect, column: str, match: Match) -> Condition | None:
    inner = _uid_condition(dialect, "code.text", match)
    if inner is None:
        return None
    return Condition(f"{column} IN (SELECT code.id FROM code WHERE {inner.sql})", inner.values)


def _count_condition(dialect: Dialect, expression: str, match: Match) -> Condition | None:
    if isinstance(match, Absent):
        return NEVER
    if not isinstance(match, Number):
        return None
    return equals(dialect, expression, [int(value) for value in match.values if value.is_integer()])


# -- entrances ------------------------------------------------------------------------------------------------
def _entrance(plan: Plan, key: Key) -> None:
    """Note what a key offers as a way in."""
    attribute = BY_TAG[key.tag]
    match = key.match
    if attribute.keyword in UIDS and isinstance(match, OneOf):
        plan.direct = True
    days = _days(key) if plan.level != "patient" else None
    if days is not None:
        plan.days = days
    if key.tag in (_MODALITY, _MODALITIES) and isinstance(match, OneOf):
        inner = text_condition(plan.dialect, '"Modality"', "text", match)
        assert inner is not None
        # Two ranges of the index, each of which is read without looking at a row.
        visible = "SELECT study AS id FROM series WHERE visible = 1 AND "
        single = equals(plan.dialect, '"Modality"', [storable(value) for value in match.values if value])
        many = both([Condition(several('"Modality"')), inner])
        _enter(plan, f"{visible}{single.sql} UNION ALL {visible}{many.sql}", (*single.values, *many.values))
        return
    if plan.dialect != "sqlite":
        return
    if days is not None:
        count = f"SELECT count(*) FROM (SELECT 1 FROM study st WHERE st.visible = 1 AND {days.sql} LIMIT ?) AS found"
        plan.entrances.append(Entrance(None, Condition(count, days.values)))
    elif attribute.keyword in ("PatientID", "AccessionNumber") and isinstance(match, OneOf):
        inner = text_condition(plan.dialect, f'st."{attribute.keyword}"', "text", match)
        assert inner is not None
        _enter(plan, f"SELECT st.id AS id FROM study st WHERE {inner.sql}", inner.values)
        return
    beginning = _beginning(match) if attribute.keyword in STUDY_ORDERS else ""
    if beginning:
        # Those with several values are sorted before letters, behind their separator
        column, visible = f'"{attribute.keyword}"', "SELECT id FROM study WHERE visible = 1 AND "
        ranged = f"{visible}{column} >= ? AND {column} < ? UNION ALL {visible}{several(column)}"
        _enter(plan, ranged, (beginning, f"{beginning}{LAST}"))
    if attribute.keyword in TEXT_SEARCHED:
        wanted = _trigrams(match)
        if wanted:
            matched = f"{attribute.keyword} : ({wanted})"
            _enter(plan, "SELECT rowid AS id FROM study_text WHERE study_text MATCH ?", (matched,))


def _beginning(match: Match) -> str:
    """Return the text with which whatever a wildcard pattern or name matches begins, where it is a single value; "" if
    there is none."""
    if isinstance(match, Name) and not match.words and len(match.groups) == 1:
        pattern = match.groups[0]
    elif isinstance(match, Pattern):
        pattern = match.text
    else:
        return ""
    return storable(pattern).split("*")[0].split("?")[0]


def _enter(plan: Plan, studies: str, values: tuple[Any, ...]) -> None:
    # Its planner would rather walk the order of pages than believe that few are left; an array is read at once.
    among = f"= ANY(ARRAY({studies}))" if plan.dialect == "postgresql" else f"IN ({studies})"
    condition = (
        f"pt.id IN (SELECT patient FROM study WHERE id {among})" if plan.level == "patient" else f"st.id {among}"
    )
    count = f"SELECT count(*) FROM ({studies} LIMIT ?) AS found"
    plan.entrances.append(Entrance(Condition(condition, values), Condition(count, values)))


def _days(key: Key) -> Condition | None:
    if key.tag != _STUDY_DATE or not isinstance(key.match, Between | Moment):
        return None
    first, last = key.match.first, key.match.last
    conditions = [Condition("st.day <> ''")] if first is None else [Condition("st.day >= ?", (first[:8],))]
    if last is not None:
        conditions.append(Condition("st.day <= ?", (last[:8],)))
    return both(conditions)


def _trigrams(match: Match) -> str:
    """Return an FTS5 expression that holds for whatever a wildcard pattern or name matches; "" if there is none."""
    if isinstance(match, Pattern):
        return _of_pattern(match.text)
    if isinstance(match, OneOf):
        parts = [_of_pattern(value.replace("*", "?")) for value in match.values if value]
        return " OR ".join(f"({part})" for part in parts) if parts and all(parts) else ""
    if not isinstance(match, Name):
        return ""
    literal = " AND ".join(part for part in (_of_pattern(group) for group in match.groups) if part)
    if not match.words or not literal:
        return literal if not match.words else ""
    words = " AND ".join(part for part in (_of_text(storable(word)) for word in match.words) if part)
    return f"({literal}) OR ({words})" if words else ""


def _of_pattern(pattern: str) -> str:
    text = f"\\{storable(pattern)}\\"
    runs = [run for piece in text.split("*") for run in piece.split("?")]
    return " AND ".join(part for part in map(_of_text, runs) if part)


def _of_text(text: str) -> str:
    found = dict.fromkeys(text[i : i + 3] for i in range(min(len(text) - 2, 32)))
    return " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in found)


# -- statements ---------------------------------------------------------------------------------------------------
_SELECTED: dict[Level, str] = {
    "patient": "pt.id",
    "study": "st.id",
    "series": "se.id, se.study",
    "instance": "ins.version, ins.series, se.study",
}
WIDTH: dict[Level, int] = {"patient": 1, "study": 1, "series": 2, "instance": 3}
"""How many columns of a row of `page` are ids; the values of the order follow."""

_JOINS = {
    "st": "study st",
    "pt": "patient pt",
    "se": "series se ON se.study = st.id",
    "ins": "instance ins ON ins.series = se.id",
}
# The index of SOP Instance UIDs is of rows with `current = 1`; in these words it is not taken for one of series.
_VISIBLE: dict[Alias, str] = {"st": "st.visible = 1", "se": "se.visible = 1", "ins": "ins.current <> 0"}


def page(plan: Plan, entrance: Entrance | None, stage: Stage, limit: int, offset: int) -> Condition:
    """Return the statement that selects ids and order values of a page.

    Args:
        plan: the query.
        entrance: the way in; None for the order.
        stage: of the order.
        limit, offset: rows.
    """
    source = _source(plan, entrance, stage)
    values = ", ".join(term.sql for term in plan.terms)
    # A unary plus keeps SQLite from reading in the order's own index where there is a better way in.
    plus = "+" if plan.dialect == "sqlite" and (entrance is not None or plan.direct) else ""
    order = ", ".join(f"{plus}{term.sql}{' DESC' if term.descending else ''}" for term in plan.terms[stage.settled :])
    return Condition(
        f"SELECT {_SELECTED[plan.level]}, {values} {source.sql} ORDER BY {order} LIMIT ? OFFSET ?",
        (*source.values, limit, offset),
    )


def count(plan: Plan, entrance: Entrance | None, stage: Stage, limit: int) -> Condition:
    """Return the statement that counts results from a stage of the order on, up to a limit."""
    source = _source(plan, entrance, stage)
    return Condition(f"SELECT count(*) FROM (SELECT 1 {source.sql} LIMIT ?) AS found", (*source.values, limit))


def _source(plan: Plan, entrance: Entrance | None, stage: Stage) -> Condition:
    # CROSS JOIN keeps SQLite to this order of the loops, in which results come out sorted.
    fixed = plan.dialect == "sqlite" and not plan.direct
    first = _JOINS[plan.tables[0]]
    if fixed and entrance is None and plan.walks_days and plan.level != "patient":
        first += " INDEXED BY study_order"
    joined = [first, *(_JOINS[alias] for alias in plan.tables[1:])]
    conditions = [Condition(_VISIBLE[alias]) for alias in plan.tables if alias in _VISIBLE]
    if entrance is not None and entrance.condition is not None:
        conditions.append(entrance.condition)
    conditions += plan.conditions
    if plan.below:
        conditions.append(_below(plan))
    if stage.condition is not ALWAYS:
        conditions.append(stage.condition)
    where = both(conditions) if conditions else ALWAYS
    return Condition(f"FROM {(' CROSS JOIN ' if fixed else ' JOIN ').join(joined)} WHERE {where.sql}", where.values)


_UP: dict[Level, tuple[Alias, str]] = {
    "patient": ("st", "st.patient = pt.id"),
    "study": ("se", "se.study = st.id"),
    "series": ("ins", "ins.series = se.id"),
}


def _below(plan: Plan) -> Condition:
    """Return the condition that something below satisfies all conditions there are for it."""
    aliases: tuple[Alias, ...] = ("st", "se", "ins")
    top, link = _UP[plan.level]
    start = aliases.index(top)
    stop = max(aliases.index(alias) for alias in plan.below) + 1
    used = aliases[start:stop]
    conditions = [Condition(_VISIBLE[alias]) for alias in used]
    conditions += [condition for alias in used for condition in plan.below.get(alias, [])]
    joined = " JOIN ".join([_JOINS[used[0]].split(" ON ")[0], *(_JOINS[alias] for alias in used[1:])])
    if plan.direct:
        own, theirs = link.split(" = ")[1], link.split(" = ")[0]
        inner = both(conditions)
        return Condition(f"{own} IN (SELECT {theirs} FROM {joined} WHERE {inner.sql})", inner.values)
    inner = both([Condition(link), *conditions])
    return Condition(f"EXISTS (SELECT 1 FROM {joined} WHERE {inner.sql})", inner.values)


def instances(plan: Plan, ids: Any) -> Condition:
    """Return the statement that lists the versions of instances below results, with the id of the result.

    Args:
        plan: the query.
        ids: of the results, as a list parameter.
    """
    owner = {"patient": "st.patient", "study": "se.study", "series": "ins.series", "instance": "ins.version"}
    conditions = [Condition(one_of(plan.dialect, owner[plan.level]), (ids,)), Condition("ins.current <> 0")]
    conditions += [condition for found in plan.below.values() for condition in found]
    where = both(conditions)
    return Condition(
        f"SELECT {owner[plan.level]}, ins.version FROM study st JOIN series se ON se.study = st.id "
        f"JOIN instance ins ON ins.series = se.id WHERE {where.sql} ORDER BY ins.version",
        where.values,
    )
