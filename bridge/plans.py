"""Plans of retrievals: which presentation contexts to ask a destination for, and in which transfer syntax to fetch an
object that it does not take as it is stored (PS3.5 10.1, PS3.8 9.3.2.2)."""

from collections.abc import Iterable, Iterator, Sequence

from bridge.negotiation import MOST_CONTEXTS, Proposed
from bridge.sources import Instance
from dicomweb.standard.syntaxes import (
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    JPEG_2000,
    JPEG_2000_LOSSLESS,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    SYNTAXES,
)

# What is proposed where nobody says in which transfer syntax an object comes
_USUAL = (JPEG_BASELINE, JPEG_LOSSLESS, JPEG_2000_LOSSLESS, JPEG_2000, JPEG_LS, RLE)


def candidates(stored: str, accepted: Iterable[str]) -> list[str]:
    """Return in which transfer syntaxes to ask for an object that the receiver does not take as it is stored.

    Args:
        stored: Transfer Syntax UID of the object.
        accepted: those of the receiver.

    Returns:
        Explicit VR Little Endian where the receiver takes it or Implicit VR, then the lossless compressed ones that
        it takes, in its order.
    """
    taken = list(accepted)
    plain = [EXPLICIT] if EXPLICIT in taken or IMPLICIT in taken else []
    lossless = [
        uid for uid in taken
        if uid in SYNTAXES and (SYNTAXES[uid].encapsulated or uid == DEFLATED) and SYNTAXES[uid].lossy is False
    ]  # fmt: skip
    return [uid for uid in (*plain, *lossless) if uid != stored]


def plan(
    instances: Iterable[Instance], wanted: Sequence[str] = ()
) -> Iterator[tuple[tuple[Proposed, ...], list[Instance]]]:
    """Plan the associations of a C-MOVE: presentation contexts by what is really sent (PS3.5 10.1, PS3.8 9.3.2.2).

    Each stored transfer syntax of a SOP class has a context of its own, and uncompressed ones have one for all, into
    which can be decoded.

    Args:
        instances: what is to be sent.
        wanted: the only transfer syntaxes that the destination takes; () for all.

    Yields:
        Contexts of one association, 128 at most, and the instances that they are for.
    """
    classes: dict[str, tuple[dict[str, None], list[Instance]]] = {}
    for instance in instances:
        syntaxes, members = classes.setdefault(instance.sop_class, ({}, []))
        members.append(instance)
        for syntax in (instance.syntax,) if instance.syntax else _USUAL:
            syntaxes[syntax] = None
    proposed: list[tuple[str, tuple[str, ...]]] = []
    group: list[Instance] = []
    for sop_class, (syntaxes, members) in classes.items():
        compressed = [uid for uid in dict.fromkeys((*syntaxes, *wanted)) if uid not in (EXPLICIT, IMPLICIT)]
        native = tuple(uid for uid in (EXPLICIT, IMPLICIT) if not wanted or uid in wanted)
        sets = [(uid,) for uid in compressed if not wanted or uid in wanted] + ([native] if native else [])
        if len(proposed) + len(sets) > MOST_CONTEXTS and proposed:
            yield _numbered(proposed), group
            proposed, group = [], []
        proposed += [(sop_class, each) for each in sets[:MOST_CONTEXTS]]
        group += members
    if proposed:
        yield _numbered(proposed), group


def _numbered(proposed: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[Proposed, ...]:
    return tuple(Proposed(2 * place + 1, *each) for place, each in enumerate(proposed))
