"""Workloads on pixels: frames transcoded, pictures drawn. What is asked for in one round is not asked for in another,
so that nothing comes from a cache but where the name says so."""

from collections.abc import Callable, Iterator

import imagecodecs
import numpy as np
from pydicom.encaps import encapsulate

from benchmarks import data
from benchmarks.client import Call, get
from benchmarks.workloads import CT_STUDIES, Workload, instance

ROUNDS = 5
"""Rounds for which there is enough to ask for."""
JPEG_2000_STUDY, LONG, LONGER, BIG = 90005, 90006, 90007, 90008
JPEG_2000, JPEG_LS, HTJ2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.201"

_EACH = 16
_OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"


def load(rounds: int) -> Iterator[bytes]:
    """Make the objects that these workloads ask for in so many rounds."""
    for number in range(1, rounds * _EACH + 1):
        yield _jpeg_2000(number)
    yield data.multi_frame(LONG, 88, 256, 256)
    yield data.multi_frame(LONGER, 1000, 256, 256)
    for number in range(1, rounds * 2 + 1):
        yield data.part10(data.image(data.header(BIG, 1, number), 1, 2048, 2048))


def first(base: str) -> list[Call]:
    """Draw an image that nothing else asks for: each process loads what draws when it does so first."""
    return [get(f"{base}{instance(1, 1)}/rendered", kind) for kind in ("image/jpeg", "image/png") for _ in range(8)]


def _jpeg_2000(number: int) -> bytes:
    ds = data.image(data.header(JPEG_2000_STUDY, 1, number), 1, 512, 512)
    frame = imagecodecs.jpeg2k_encode(
        np.frombuffer(ds.PixelData, "<u2").reshape(512, 512), codecformat="j2k", reversible=True
    )
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    return data.part10(ds, JPEG_2000)


def _asking(study: int, accept: str, what: str, count: int = _EACH) -> Callable[[str, int], list[Call]]:
    """The same of so many instances, others in each round."""

    def calls(base: str, turn: int) -> list[Call]:
        first = turn % ROUNDS * count + 1
        return [get(f"{base}{instance(study, first + n)}{what}", accept) for n in range(count)]

    return calls


def _same(study: int, accept: str, what: str, count: int = 200) -> Callable[[str, int], list[Call]]:
    """The same again and again, of which only the first is made."""
    return lambda base, _: [get(f"{base}{instance(study, 1)}{what}", accept)] * count


def _one_of(study: int, frames: int) -> Callable[[str, int], list[Call]]:
    """Single frames spread over a multi-frame object."""

    def calls(base: str, turn: int) -> list[Call]:
        step = frames // (_EACH + 1)
        return [get(f"{base}{instance(study, 1)}/frames/{1 + turn + n * step}", _as(JPEG_LS)) for n in range(_EACH)]

    return calls


def _as(syntax: str) -> str:
    kinds = {JPEG_2000: "image/jp2", JPEG_LS: "image/jls", HTJ2K: "image/jphc"}
    return f"multipart/related; type={kinds[syntax]}; transfer-syntax={syntax}"


CT = CT_STUDIES[0]
WORKLOADS: tuple[Workload, ...] = (
    Workload(
        "frame, JPEG 2000 to uncompressed",
        _asking(JPEG_2000_STUDY, _OCTETS, "/frames/1"),
        _EACH,
        bar=0.8,
        jpeg_2000=True,
    ),
    Workload(
        "frame, JPEG 2000 to uncompressed, again",
        _same(JPEG_2000_STUDY, _OCTETS, "/frames/1"),
        200,
        bar=0.05,
        jpeg_2000=True,
    ),
    Workload(
        "frame, uncompressed to JPEG 2000", _asking(CT, _as(JPEG_2000), "/frames/1"), _EACH, bar=0.8, jpeg_2000=True
    ),
    Workload("frame, uncompressed to JPEG-LS", _asking(CT, _as(JPEG_LS), "/frames/1"), _EACH, bar=0.6),
    Workload("frame, uncompressed to HTJ2K", _asking(CT, _as(HTJ2K), "/frames/1"), _EACH, alone=True),
    Workload("JPEG-LS frame of an 88-frame object", _one_of(LONG, 88), _EACH, alone=True),
    Workload("JPEG-LS frame of a 1,000-frame object", _one_of(LONGER, 1000), _EACH, alone=True),
    Workload(
        "one JPEG 2000 frame, asked for by 100 viewers",
        lambda base, turn: [get(f"{base}{instance(CT, 150 + turn)}/frames/1", _as(JPEG_2000))] * 100,
        100,
        clients=100,
        alone=True,
    ),
    Workload("rendered JPEG, 512x512", _asking(CT, "image/jpeg", "/rendered"), _EACH, bar=0.5),
    Workload("rendered PNG, 512x512", _asking(CT, "image/png", "/rendered"), _EACH, bar=0.08),
    Workload("rendered JPEG, 2048x2048", _asking(BIG, "image/jpeg", "/rendered", 2), 2),
    Workload("rendered PNG, 2048x2048", _asking(BIG, "image/png", "/rendered", 2), 2),
    Workload("thumbnail", _asking(CT, "image/jpeg", "/thumbnail"), _EACH, alone=True),
    Workload("thumbnail, again", _same(CT, "image/jpeg", "/thumbnail"), 200, alone=True),
)
