"""One Query; QIDO-RS and C-FIND are two notations of it (PS3.18 8.3.4 and 10.6, PS3.4 C.4.1)."""

from dataclasses import dataclass, field

from dicomweb.standard.attributes import Level
from dicomweb.standard.matching import Key


@dataclass(frozen=True, slots=True)
class Order:
    """One key of `orderby`: an indexed attribute of the searched level or above, ascending or descending."""

    tag: int
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """What is searched: a level, the UIDs that the URL fixes, matching keys, paging.

    Attributes:
        level: what one result is.
        study: Study Instance UID from the URL, or None.
        series: Series Instance UID from the URL, or None.
        keys: matching keys; universal ones are not among them (they are `include`).
        include: tag paths to return beyond the default; a path longer than one leads into sequences.
        include_all: everything that is held at this level.
        creators: private creators named by the query, by (gggg00xx-free) block tag, such as 0x00290010.
        limit: how many results at most.
        offset: how many results to pass over.
        order: keys of `orderby`, before the default order.
        cursor: opaque place after which to go on, from an earlier answer; excludes `offset`.
        warnings: sentences about what was asked and not done.
    """

    level: Level
    study: str | None = None
    series: str | None = None
    keys: tuple[Key, ...] = ()
    include: frozenset[tuple[int, ...]] = frozenset()
    include_all: bool = False
    creators: dict[int, str] = field(default_factory=dict)
    limit: int = 1000
    offset: int = 0
    order: tuple[Order, ...] = ()
    cursor: str | None = None
    warnings: tuple[str, ...] = ()
