"""How an object says that its frames are to be seen."""

import ast
import base64
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from models import datasets

from dicomweb.errors import NotFound, Unavailable
from dicomweb.imaging.looks import Look, frame_seconds, read_look
from dicomweb.imaging.overlays import Overlay, Shutter
from dicomweb.imaging.tables import Palette, Table
from dicomweb.standard.rendering import Window

STORAGE = "1.2.840.10008.5.1.4.1.1."
IMAGING = Path(__file__).parents[2] / "dicomweb" / "imaging"


def nothing(path: str) -> bytes:
    raise NotFound(path)


def attribute(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def inline(data: bytes) -> dict[str, Any]:
    return {"vr": "OW", "InlineBinary": base64.b64encode(data).decode()}


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def look(dataset: dict[str, Any], number: int = 1) -> Look:
    return read_look(dataset, number, nothing)


@pytest.mark.parametrize("name", ["described", "tables", "overlays", "looks", "states", "choosing"])
def test_what_the_web_process_reads_looks_with_imports_neither_numpy_nor_codecs(name):
    allowed = {"described", "tables", "overlays", "looks", "states", "choosing"}
    for node in ast.walk(ast.parse((IMAGING / f"{name}.py").read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for imported in names:
            assert not imported.startswith(("numpy", "PIL", "imagecodecs"))
            assert not imported.startswith("dicomweb.imaging") or imported.rpartition(".")[2] in allowed


@given(datasets())
def test_any_data_set_has_a_look_that_travels(dataset):
    found = look(dataset)
    assert pickle.loads(pickle.dumps(found)) == found
    assert hash(found) == hash(pickle.loads(pickle.dumps(found)))


def test_a_data_set_that_says_nothing_is_gray_and_left_alone():
    assert look({}) == Look()


def test_rescale_and_windows_are_read_in_order_without_those_that_cannot_be_drawn():
    found = look(
        {
            "00281050": attribute("DS", 40.0, "x", 300.0),
            "00281051": attribute("DS", 400.0, 0.0, 1500.0),
            "00281052": attribute("DS", -1024.0),
            "00281053": attribute("DS", 2.0),
            "00281054": attribute("LO", "HU"),
            "00281055": attribute("LO", "SOFT", "BONE"),
        }
    )
    assert (found.slope, found.intercept, found.units) == (2.0, -1024.0, "HU")
    assert found.windows == (Window(40, 400, "LINEAR", "SOFT"),)


def test_a_slope_of_nothing_is_none():
    assert look({"00281053": attribute("DS", 0.0)}).slope == 1.0


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_function_of_windows_is_read(function):
    described = {"00281050": attribute("DS", 1.0), "00281051": attribute("DS", 2.0)}
    assert look(described | {"00281056": attribute("CS", function)}).windows == (Window(1, 2, function),)
    assert look(described | {"00281056": attribute("CS", "CUBIC")}).windows == (Window(1, 2, "LINEAR"),)


def test_functional_groups_of_the_frame_come_first_then_the_shared_ones_then_the_rest():
    def voi(center: float) -> dict[str, Any]:
        return {
            "00289132": sequence({"00281050": attribute("DS", center), "00281051": attribute("DS", 10.0)}),
            "00289145": sequence({"00281052": attribute("DS", center), "00281053": attribute("DS", 1.0)}),
        }

    dataset = {
        "00281050": attribute("DS", 1.0),
        "00281051": attribute("DS", 10.0),
        "52009229": sequence(voi(2.0)),
        "52009230": sequence(voi(3.0), {}, voi(4.0)),
    }
    assert [look(dataset, number).windows[0].center for number in (1, 2, 3, 4)] == [3, 2, 4, 2]
    assert [look(dataset, number).intercept for number in (1, 2, 3)] == [3, 2, 4]
    del dataset["52009229"]
    assert look(dataset, 2).windows[0].center == 1


class Counted(list[Any]):
    """A list that counts who looks into it."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        self.looks += 1
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        raise AssertionError("all items are looked at")


def test_one_item_of_the_functional_groups_is_looked_at_however_many_there_are():
    items = Counted({} for _ in range(1000))
    look({"52009230": {"vr": "SQ", "Value": items}, "00280008": attribute("IS", 1000)}, 500)
    assert items.looks < 5


def test_a_modality_table_goes_before_rescale_but_not_in_angiography():
    lut = {"00283002": attribute("US", 2, 0, 8), "00283006": attribute("US", 1, 2)}
    dataset = {"00283000": sequence(lut), "00281053": attribute("DS", 7.0)}
    assert look(dataset).rescale == Table(0, struct.pack("<2H", 1, 2), 255)
    assert look(dataset).slope == 1.0
    for end in ("12.1", "12.2"):
        assert look(dataset | {"00080016": attribute("UI", STORAGE + end)}).rescale is None


def test_voi_tables_are_read():
    lut = {"00283002": attribute("US", 2, 0xFFFF, 8), "00283006": attribute("US", 1, 2)}
    assert look({"00283010": sequence(lut), "00280103": attribute("US", 1)}).voi[0].first == -1
    assert look({"00283010": sequence(lut)}).voi[0].first == 65535


@pytest.mark.parametrize(
    ("photometric", "shape", "inverse"),
    [("MONOCHROME1", "", True), ("MONOCHROME1", "INVERSE", True), ("MONOCHROME2", "", False),
     ("MONOCHROME2", "IDENTITY", False), ("MONOCHROME1", "IDENTITY", True)],
)  # fmt: skip
def test_shades_are_inverted_once(photometric, shape, inverse):
    dataset = {"00280004": attribute("CS", photometric), "20500020": attribute("CS", shape)}
    assert look(dataset).inverse is inverse


def test_padding_is_a_value_or_a_range_and_has_the_sign_of_the_pixels():
    assert look({"00280120": attribute("US", 0xF830), "00280103": attribute("US", 1)}).padding == (-2000, -2000)
    assert look({"00280120": attribute("SS", -2000)}).padding == (63536, 63536)
    both = {"00280120": attribute("US", 10), "00280121": attribute("US", 5)}
    assert look(both).padding == (5, 10)


def test_a_palette_is_read_for_pictures_that_have_one():
    colours = {f"0028110{n}": attribute("US", 2, 0, 8) for n in (1, 2, 3)}
    colours |= {f"0028120{n}": inline(bytes((n, 2 * n))) for n in (1, 2, 3)}
    found = look(colours | {"00280004": attribute("CS", "PALETTE COLOR")})
    assert (found.kind, found.palette) == ("palette", Palette(0, b"\1\2", b"\2\4", b"\3\6"))
    mixed = look(colours | {"00280004": attribute("CS", "MONOCHROME2"), "00089205": attribute("CS", "COLOR")})
    assert (mixed.kind, mixed.palette) == ("supplemental", Palette(0, b"\1\2", b"\2\4", b"\3\6"))
    assert look(colours | {"00280004": attribute("CS", "MONOCHROME2")}).kind == "grayscale"


def test_segments_have_their_recommended_colour_or_one_of_ours():
    dataset = {
        "00080016": attribute("UI", STORAGE + "66.4"),
        "00620001": attribute("CS", "FRACTIONAL"),
        "0062000E": attribute("US", 200),
        "00620002": sequence(
            {"00620004": attribute("US", 1), "0062000D": attribute("US", 65535, 32896, 32896)},
            {"00620004": attribute("US", 2)},
        ),
        "52009230": sequence(
            {"0062000A": sequence({"0062000B": attribute("US", 1)})},
            {"0062000A": sequence({"0062000B": attribute("US", 2)})},
        ),
    }
    first, second = look(dataset, 1), look(dataset, 2)
    assert (first.kind, first.full) == ("segmentation", 200)
    assert first.colour is not None
    assert min(first.colour) >= 253
    assert second.colour is not None
    assert second.colour != first.colour


def test_labels_have_a_colour_each():
    dataset = {
        "00080016": attribute("UI", STORAGE + "66.7"),
        "00620002": sequence({"00620004": attribute("US", 1)}, {"00620004": attribute("US", 7)}),
    }
    found = look(dataset)
    assert found.kind == "labels"
    assert [number for number, _ in found.labels] == [1, 7]


def test_doses_are_scaled_by_their_grid():
    dataset = {
        "00080016": attribute("UI", STORAGE + "481.2"),
        "3004000E": attribute("DS", 0.001),
        "30040002": attribute("CS", "GY"),
    }
    found = look(dataset)
    assert (found.kind, found.slope, found.units) == ("dose", 0.001, "GY")


@pytest.mark.parametrize(
    ("dataset", "aspect"),
    [
        ({"00280034": attribute("IS", 2, 1)}, 2.0),
        ({"00280030": attribute("DS", 0.5, 0.25)}, 2.0),
        ({"00181164": attribute("DS", 0.25, 0.5)}, 0.5),
        ({"00280034": attribute("IS", 0, 1)}, 1.0),
        ({"00280034": attribute("IS", 1, 10000)}, 1.0),
        ({"00280034": attribute("IS", "x", 1)}, 1.0),
        ({"52009229": sequence({"00289110": sequence({"00280030": attribute("DS", 3.0, 1.0)})})}, 3.0),
    ],
)
def test_pixels_may_be_higher_than_wide(dataset, aspect):
    assert look(dataset).aspect == aspect


def plane(group: str = "6000", **changes: Any) -> dict[str, Any]:
    made = {
        f"{group}0010": attribute("US", 4),
        f"{group}0011": attribute("US", 4),
        f"{group}0040": attribute("CS", "G"),
        f"{group}0050": attribute("SS", 1, 1),
        f"{group}3000": inline(b"\x01\x80"),
    }
    return made | {f"{group}{tag}": value for tag, value in changes.items()}


def test_overlays_are_read_from_all_groups():
    dataset = plane() | plane("601E", **{"0050": attribute("SS", -1, 3), "0040": attribute("CS", "R")})
    assert look(dataset).overlays == (
        Overlay(4, 4, 0, 0, False, b"\x01\x80"),
        Overlay(4, 4, -2, 2, True, b"\x01\x80"),
    )


def test_overlays_of_several_frames_lie_over_the_frames_from_their_origin_on():
    dataset = plane(**{"0015": attribute("IS", 3), "0051": attribute("US", 2), "3000": inline(bytes(range(6)))})
    assert look(dataset, 1).overlays == ()
    assert look(dataset, 2).overlays[0].data == b"\0\1"
    assert look(dataset, 4).overlays[0].data == b"\4\5"
    assert look(dataset, 5).overlays == ()


def test_overlays_of_several_frames_need_not_begin_at_a_byte():
    dataset = plane(**{"0010": attribute("US", 3), "0011": attribute("US", 3), "0015": attribute("IS", 2)})
    found = look(dataset, 2).overlays[0]
    assert (found.data, found.skipped) == (b"\x80", 1)


def test_overlays_in_unused_bits_are_known_by_their_bit():
    dataset = plane(**{"3000": {"vr": "OW"}, "0100": attribute("US", 16), "0102": attribute("US", 12)})
    assert look(dataset).overlays == (Overlay(4, 4, bit=12),)


def test_overlays_without_bits_are_none():
    assert look(plane(**{"3000": {"vr": "OW"}})).overlays == ()
    assert look(plane(**{"0010": attribute("US", 0)})).overlays == ()


def test_shutters_have_shapes():
    dataset = {
        "00181600": attribute("CS", "RECTANGULAR", "CIRCULAR", "POLYGONAL"),
        "00181602": attribute("IS", 2), "00181604": attribute("IS", 9), "00181606": attribute("IS", 3),
        "00181608": attribute("IS", 8), "00181610": attribute("IS", 5, 6), "00181612": attribute("IS", 4),
        "00181620": attribute("IS", 1, 1, 1, 9, 9, 9), "00181622": attribute("US", 65535),
    }  # fmt: skip
    assert look(dataset).shutter == Shutter((2, 9, 3, 8), (5, 6, 4), ((1, 1), (1, 9), (9, 9)), None, 65535)
    assert look({"00181600": attribute("CS", "CIRCULAR")}).shutter is None
    frame = {"52009230": sequence({"00189472": sequence(dataset)})}
    assert look(frame).shutter == look(dataset).shutter


def test_a_profile_is_at_the_top_or_in_the_optical_path():
    assert look({"00282000": inline(b"top")}).profile == b"top"
    assert look({"00480105": sequence({"00282000": inline(b"path")})}).profile == b"path"


def test_a_profile_that_is_not_needed_is_not_fetched():
    dataset = {"00282000": {"vr": "OB", "BulkDataURI": "bulkdata/00282000"}}
    fetched: list[str] = []

    def fetch(path: str) -> bytes:
        fetched.append(path)
        return b"profile!"

    assert read_look(dataset, 1, fetch, profiled=False).profile == b""
    assert fetched == []
    assert read_look(dataset, 1, fetch).profile == b"profile!"
    assert fetched == ["00282000"]


def test_a_storage_that_does_not_answer_is_no_missing_value():
    def silent(path: str) -> bytes:
        raise Unavailable("storage does not answer")

    with pytest.raises(Unavailable):
        read_look({"00282000": {"vr": "OB", "BulkDataURI": "bulkdata/00282000"}}, 1, silent)


def test_annotations_say_who_and_how():
    dataset = {
        "00080060": attribute("CS", "MR"),
        "0008103E": attribute("LO", "t2_tse\u202e"),
        "00100010": attribute("PN", {"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎"}),
        "00100020": attribute("LO", "12345"),
        "00100030": attribute("DA", "19701231"),
        "00100040": attribute("CS", "M"),
        "00180080": attribute("DS", 4000.0),
        "00200013": attribute("IS", 7),
        "00280008": attribute("IS", 20),
    }
    found = look(dataset, 3)
    assert found.patient == ("Yamada, Tarou 山田, 太郎", "ID 12345", "*1970-12-31  M")
    assert found.technique == ("MR t2_tse", "Im 7 Fr 3/20", "TR 4000")


@pytest.mark.parametrize(
    ("dataset", "seconds"),
    [
        ({}, [0.1, 0.1, 0.1]),
        ({"00181063": attribute("DS", 40.0)}, [0.04] * 3),
        ({"00180040": attribute("IS", 25)}, [0.04] * 3),
        ({"00082144": attribute("IS", 10), "00180040": attribute("IS", 25)}, [0.1] * 3),
        ({"00181065": attribute("DS", 0.0, 40.0, 80.0)}, [0.04, 0.08, 0.08]),
        ({"00181065": attribute("DS", 0.0, 40.0)}, [0.1] * 3),
        ({"00181063": attribute("DS", 0.0), "00180040": attribute("IS", 0)}, [0.1] * 3),
        ({"00181063": attribute("DS", 1e9)}, [60.0] * 3),
    ],
)
def test_frames_are_seen_as_long_as_the_object_says(dataset, seconds):
    assert frame_seconds(dataset, 3) == seconds
