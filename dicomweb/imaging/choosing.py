"""Which picture stands for many: the representative of a series or a study (PS3.18 10.4.1.1.4; R32).

The Standard leaves the choice open. Here: real images go before moving ones, those before what is derived from
images (segmentations, doses, maps), and these before what has no pixels; of a study the kind that has most
instances in one series; of that series the one in the middle, and of it the frame in the middle.

No numpy: the web process chooses.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

Icon: TypeAlias = Literal["document", "waveform", "plan", "video", "state", "unknown"]


class Candidate(NamedTuple):
    """An instance that may stand for others.

    Attributes:
        sop_class: UID.
        number: Instance Number, 0 where there is none.
        frames: how many there are.
        layout: kind of its layout, see `standard.frames.Layout`.
        series: whatever tells series apart.
        instance: SOP Instance UID.
    """

    sop_class: str
    number: int = 0
    frames: int = 1
    layout: str = "native"
    series: str = ""
    instance: str = ""


class Choice(NamedTuple):
    """What stands for the rest.

    Attributes:
        place: of the candidate among all, from 0.
        frame: number, from 1.
    """

    place: int
    frame: int


_STORAGE = "1.2.840.10008.5.1.4.1.1."
# PS3.4 B.5: classes whose pixels are derived from other images
_DERIVED = frozenset(_STORAGE + end for end in ("30", "66.4", "66.7", "66.8", "481.2"))
_PICTURED = frozenset(["native", "bits", "encapsulated"])


def representative(candidates: Sequence[Candidate]) -> Choice | None:
    """Choose the instance and frame that stand for a series or a study.

    Args:
        candidates: in any order.

    Returns:
        None where there are none. What is chosen has no pixels only if nothing has.
    """
    if not candidates:
        return None
    best = min(map(_rank, candidates))
    left = [index for index, candidate in enumerate(candidates) if _rank(candidate) == best]
    by_series: dict[str, list[int]] = defaultdict(list)
    for index in left:
        by_series[candidates[index].series].append(index)
    # Most instances; where several have as many, the series that comes first by its own name
    members = min(by_series.items(), key=lambda item: (-len(item[1]), item[0]))[1]
    members.sort(key=lambda index: (candidates[index].number, candidates[index].instance))
    index = members[len(members) // 2]
    return Choice(index, (max(candidates[index].frames, 1) + 1) // 2)


def middle_frame(frames: int) -> int:
    """Return the number of the frame that stands for an instance."""
    return (max(frames, 1) + 1) // 2


def icon_of(sop_class: str, layout: str) -> Icon:
    """Return which icon stands for an instance without a picture (PS3.4 B.5).

    Args:
        sop_class: UID.
        layout: kind of its layout.
    """
    if layout == "video":
        return "video"
    end = sop_class.removeprefix(_STORAGE)
    if end.startswith("9."):
        return "waveform"
    if end.startswith(("88.", "104.")):
        return "document"
    if end.startswith("481."):
        return "plan"
    return "state" if end.startswith("11.") else "unknown"


def _rank(candidate: Candidate) -> int:
    if candidate.layout in _PICTURED:
        return 2 if candidate.sop_class in _DERIVED else 0
    return 1 if candidate.layout == "video" else 3
