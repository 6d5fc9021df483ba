"""The order of results, which is total, and the place of a row in it (W-130: PS3.18 8.3.4.4.1)."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dicomweb.errors import BadQuery
from dicomweb.index.columns import ALIAS, CODES, COUNTS, LISTS, UIDS, column_of
from dicomweb.index.conditions import ALWAYS, Condition
from dicomweb.index.forms import kind_of
from dicomweb.index.schema import MISSING
from dicomweb.standard.attributes import BY_TAG, LEVELS, Level
from dicomweb.standard.query import Query


@dataclass(frozen=True, slots=True)
class Term:
    """One term of the order.

    Attributes:
        sql: the expression.
        descending: from the greatest to the least.
        missing: it says whether the value of the next term is missing, and puts those that are last.
    """

    sql: str
    descending: bool = False
    missing: bool = False


def _text_terms(column: str, descending: bool) -> tuple[Term, ...]:
    """Missing texts come last either way."""
    if descending:
        return (Term(column, True),)
    return (Term(f"({column} = '')", missing=True), Term(column))


def default_order(query: Query) -> tuple[Term, ...]:
    """Return the order of results without `orderby`: newest study first, those without date last, then by Study
    Instance UID; series and instances by number, then UID; patients by name, then ID. What the URL fixes is left
    out. (PS3.18 8.3.4.4.1 asks for some stable order only.)"""
    if query.level == "patient":
        return (
            *_text_terms('pt."PatientName"', False),
            Term('pt."PatientID"'),
            Term('pt."IssuerOfPatientID"'),
        )
    terms: list[Term] = []
    if query.study is None:
        terms += [Term("st.day", True), Term("st.uid")]
    if query.level != "study" and not (query.study and query.series):
        terms += [Term("se.sort"), Term("se.uid")]
    if query.level == "instance":
        terms += [Term("ins.sort"), Term("ins.uid")]
    return tuple(terms) or (Term("st.uid"),)


def order_of(query: Query) -> tuple[Term, ...]:
    """Return the order of a query's results: what it asks for, then the default order, without terms that those before
    have settled, so that the indexes of `schema` are recognized.

    Raises:
        BadQuery: as `ordered_by`.
    """
    terms: dict[str, Term] = {}
    for term in (*ordered_by(query), *default_order(query)):
        terms.setdefault(term.sql, term)
    return tuple(terms.values())


def ordered_by(query: Query) -> list[Term]:
    """Return the terms that the query's `orderby` asks for, an extension.

    Raises:
        BadQuery: it names what has no column of the level or above.
    """
    terms: list[Term] = []
    for order in query.order:
        attribute = BY_TAG.get(order.tag)
        if attribute is None or LEVELS.index(attribute.level) > LEVELS.index(query.level):
            raise BadQuery(f"results cannot be ordered by {order.tag:08X}: it is no indexed attribute of them")
        keyword = attribute.keyword
        if keyword == "StudyDate":
            terms.append(Term("st.day", True) if order.descending else Term("(st.day = '')", missing=True))
            terms += [] if order.descending else [Term("st.day")]
        elif keyword in ("SeriesNumber", "InstanceNumber"):
            terms.append(_number_term(f"{ALIAS[attribute.level]}.sort", order.descending, present=True))
        elif keyword in UIDS:
            terms.append(Term(UIDS[keyword], order.descending))
        elif keyword in LISTS:
            terms += _text_terms(LISTS[keyword], order.descending)
        elif keyword in COUNTS and (attribute.level != "patient" or query.level == "patient"):
            terms.append(Term(COUNTS[keyword], order.descending))
        elif attribute.column and keyword not in CODES:
            _, column = column_of(query.level, attribute)
            if kind_of(attribute) == "number":
                terms.append(_number_term(column, order.descending, present=False))
            else:
                terms += _text_terms(column, order.descending)
        else:
            raise BadQuery(f"results cannot be ordered by {keyword}: it has no index")
    return terms


def _number_term(column: str, descending: bool, present: bool) -> Term:
    if not descending:
        return Term(column if present else f"COALESCE({column}, {MISSING})")
    if present:
        return Term(f"(CASE WHEN {column} = {MISSING} THEN -{MISSING} ELSE {column} END)", True)
    return Term(f"COALESCE({column}, -{MISSING})", True)


def fingerprint(level: Level, terms: Sequence[Term]) -> str:
    """Return a short name of the level and order, by which a cursor is known to fit."""
    text = "|".join([level, *(f"{term.sql}{'-' if term.descending else '+'}" for term in terms)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of an order.

    Attributes:
        condition: of the rows in it.
        settled: how many of the first terms are the same for all of them.
    """

    condition: Condition = ALWAYS
    settled: int = 0


WHOLE = Stage()
"""All of an order."""


def stages(terms: Sequence[Term], place: Sequence[Any] | None) -> tuple[Stage, ...]:
    """Return the parts of an order after a place, one after the other, each of which an index can begin at.

    Where missing values are last, one range of the index cannot say "greater than this, or missing", so there are two.
    """
    if place is None:
        return (WHOLE,)
    first = terms[0]
    if first.missing and not place[0]:
        rest = after(terms[1:], place[1:])
        return (
            Stage(Condition(f"({first.sql} = ? AND {rest.sql})", (place[0], *rest.values)), 1),
            Stage(Condition(f"{first.sql} = ?", (type(place[0])(1),)), 1),
        )
    return (Stage(after(terms, place)),)


def after(terms: Sequence[Term], place: Sequence[Any]) -> Condition:
    """Return the condition that a row comes after a place in the order."""
    term, value = terms[0], place[0]
    sign = "<" if term.descending else ">"
    if len(terms) == 1:
        return Condition(f"{term.sql} {sign} ?", (value,))
    rest = after(terms[1:], place[1:])
    # The first comparison is implied by the rest, but is one that an index can begin at.
    return Condition(f"({term.sql} {sign}= ? AND ({term.sql} {sign} ? OR {rest.sql}))", (value, value, *rest.values))
