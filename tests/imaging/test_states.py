"""Presentation states: what they show, and that they replace what the image says."""

import base64
import pickle
import shutil
import struct
import subprocess
from typing import Any

import dicoms
import numpy as np
import pytest
from hypothesis import given
from models import datasets
from pictured import opened, stored
from PIL import Image
from pydicom.dataset import Dataset
from realdata import real

from dicomweb.errors import NotAcceptable, NotFound
from dicomweb.imaging.looks import Area, Graphic, Look
from dicomweb.imaging.overlays import Overlay
from dicomweb.imaging.render import render
from dicomweb.imaging.states import Reference, look_of, position_of, read_state
from dicomweb.imaging.tables import Palette, Table
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering, Window
from dicomweb.standard.syntaxes import EXPLICIT

STATE = "1.2.840.10008.5.1.4.1.1.11."


def nothing(path: str) -> bytes:
    raise NotFound(path)


def attribute(vr: str, *values: Any) -> dict[str, Any]:
    return {"vr": vr, "Value": list(values)}


def sequence(*items: dict[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "Value": list(items)}


def image(instance: str, *frames: int) -> dict[str, Any]:
    made = {"00081155": attribute("UI", instance)}
    return made | {"00081160": attribute("IS", *frames)} if frames else made


def state(kind: int = 1, **parts: Any) -> Any:
    dataset = {"00080016": attribute("UI", f"{STATE}{kind}")}
    return read_state(dataset | {name.removeprefix("x"): value for name, value in parts.items()}, nothing)


def window(center: float, *images: dict[str, Any]) -> dict[str, Any]:
    made = {"00281050": attribute("DS", center), "00281051": attribute("DS", 10.0)}
    return made | {"00081140": sequence(*images)} if images else made


def test_other_objects_are_no_state():
    for dataset in ({}, {"00080016": attribute("UI", f"{STATE}4")}):
        with pytest.raises(NotAcceptable, match="no presentation state of a kind"):
            read_state(dataset, nothing)


@given(datasets())
def test_any_state_can_be_read_and_travels(dataset):
    found = read_state(dataset | {"00080016": attribute("UI", f"{STATE}1")}, nothing)
    assert pickle.loads(pickle.dumps(look_of(found, Look(), "1.2", 1))) == look_of(found, Look(), "1.2", 1)


def test_references_come_in_the_order_of_the_state():
    series = {"0020000E": attribute("UI", "1.1"), "00081140": sequence(image("1.1.2"), image("1.1.1", 3, 1))}
    other = {"0020000E": attribute("UI", "1.2"), "00081140": sequence(image("1.2.1"))}
    assert state(x00081115=sequence(series, other)).references == (
        Reference("1.1", "1.1.2"),
        Reference("1.1", "1.1.1", (3, 1)),
        Reference("1.2", "1.2.1"),
    )


IMAGE = Look(
    "grayscale", slope=2.0, intercept=-5.0, windows=(Window(40, 400),), inverse=True, padding=(1, 2),
    overlays=(Overlay(1, 1, data=b"\1"),), aspect=2.0, patient=("Somebody",),
)  # fmt: skip


def test_what_a_state_leaves_out_is_identity_and_not_the_image_s():
    look = look_of(state(), IMAGE, "1.2", 1)
    assert (look.slope, look.intercept, look.windows, look.voi, look.inverse) == (1.0, 0.0, (), (), False)
    assert look.entire
    assert look.overlays == ()
    assert (look.padding, look.aspect, look.patient) == ((1, 2), 2.0, ("Somebody",))


def test_a_state_has_transformations_of_its_own():
    lut = {"00283002": attribute("US", 2, 0, 8), "00283006": attribute("US", 1, 2)}
    found = state(
        x00281053=attribute("DS", 3.0), x00281052=attribute("DS", 4.0), x00283110=sequence(window(7)),
        x20500020=attribute("CS", "INVERSE"),
    )  # fmt: skip
    look = look_of(found, IMAGE, "1.2", 1)
    assert (look.slope, look.intercept, look.windows, look.inverse) == (3.0, 4.0, (Window(7, 10),), True)
    shaped = look_of(state(x20500010=sequence(lut), x00283000=sequence(lut)), IMAGE, "1.2", 1)
    assert shaped.presentation == shaped.rescale == Table(0, struct.pack("<2H", 1, 2), 255)


def test_windows_may_be_for_some_images_and_frames():
    found = state(
        x00283110=sequence(window(1, image("1.1")), window(2, image("1.2", 3, 4)), window(3, image("1.3", 1)))
    )
    centers = {
        (instance, number): [one.center for one in look_of(found, IMAGE, instance, number).windows]
        for instance, number in (("1.1", 1), ("1.1", 9), ("1.2", 3), ("1.2", 5), ("1.3", 1), ("1.4", 1))
    }
    assert centers == {
        ("1.1", 1): [1], ("1.1", 9): [1], ("1.2", 3): [2], ("1.2", 5): [], ("1.3", 1): [3], ("1.4", 1): []
    }  # fmt: skip


def test_an_area_is_named_by_its_corners_wherever_these_lie():
    for first, second in (((3, 2), (8, 6)), ((8, 6), (3, 2)), ((8, 2), (3, 6))):
        item = {"00700052": attribute("SL", *first), "00700053": attribute("SL", *second)}
        look = look_of(state(x0070005A=sequence(item)), IMAGE, "1.2", 1)
        assert look.area == Area(2, 1, 8, 6)
    item = {"00700101": attribute("DS", 1.0, 1.0)}
    assert look_of(state(x0070005A=sequence(item)), IMAGE, "1.2", 1).aspect == 1.0


@pytest.mark.parametrize(("degrees", "turned"), [(0, 0), (90, 90), (270, 270), (360, 0), (95, 90)])
def test_turns_and_flips(degrees, turned):
    found = state(x00700042=attribute("US", degrees), x00700041=attribute("CS", "Y"))
    look = look_of(found, IMAGE, "1.2", 1)
    assert (look.rotation, look.mirrored) == (turned, True)


def test_graphics_come_layer_by_layer_for_their_images():
    def annotation(layer: str, *images: dict[str, Any], **parts: Any) -> dict[str, Any]:
        made = {"00700002": attribute("CS", layer)} | {name.removeprefix("x"): value for name, value in parts.items()}
        return made | {"00081140": sequence(*images)} if images else made

    line = {
        "00700005": attribute("CS", "PIXEL"), "00700023": attribute("CS", "POLYLINE"),
        "00700022": attribute("FL", 1.0, 2.0, 3.0, 4.0), "00700024": attribute("CS", "Y"),
    }  # fmt: skip
    note = {
        "00700006": attribute("ST", "here"), "00700004": attribute("CS", "DISPLAY"),
        "00700014": attribute("FL", 0.5, 0.25),
    }  # fmt: skip
    boxed = {
        "00700006": attribute("ST", "box"), "00700003": attribute("CS", "PIXEL"),
        "00700010": attribute("FL", 1.0, 1.0), "00700011": attribute("FL", 5.0, 3.0),
        "00700004": attribute("CS", "PIXEL"), "00700014": attribute("FL", 9.0, 9.0), "00700015": attribute("CS", "Y"),
    }  # fmt: skip
    found = state(
        x00700060=sequence(
            {"00700002": attribute("CS", "ABOVE"), "00700062": attribute("IS", 2)},
            {"00700002": attribute("CS", "BELOW"), "00700062": attribute("IS", 1),
             "00700401": attribute("US", 0, 32896, 32896)},
        ),
        x00700001=sequence(
            annotation("ABOVE", image("1.1"), x00700008=sequence(note, boxed)),
            annotation("BELOW", x00700009=sequence(line)),
        ),
    )  # fmt: skip
    drawn = Graphic("POLYLINE", ((1, 2), (3, 4)), False, True, colour=(0, 0, 0))
    assert look_of(found, IMAGE, "1.2", 1).graphics == (drawn,)
    assert look_of(found, IMAGE, "1.1", 1).graphics == (
        drawn,
        Graphic("TEXT", ((0.5, 0.25),), True, text="here"),
        Graphic("TEXT", ((1, 1), (5, 3)), False, text="box"),
        Graphic("POLYLINE", ((1, 1), (9, 9))),
    )


def test_overlays_are_shown_where_a_layer_activates_them_and_hide_where_a_shutter_names_them():
    def plane(group: str) -> dict[str, Any]:
        return {
            f"x{group}0010": attribute("US", 4), f"x{group}0011": attribute("US", 4),
            f"x{group}3000": {"vr": "OW", "InlineBinary": base64.b64encode(b"\1\2").decode()},
        }  # fmt: skip

    found = state(**plane("6000"), **plane("6002"), x60001001=attribute("CS", "LAYER"))
    assert look_of(found, IMAGE, "1.2", 1).overlays == (Overlay(4, 4, data=b"\1\2"),)
    hiding = state(
        **plane("6000"), x00181600=attribute("CS", "BITMAP"), x00181623=attribute("US", 0x6000),
        x60001001=attribute("CS", "LAYER"),
    )  # fmt: skip
    look = look_of(hiding, IMAGE, "1.2", 1)
    assert look.overlays == ()
    assert look.shutter is not None
    assert look.shutter.bitmap == Overlay(4, 4, data=b"\1\2")


def test_pseudo_colour_paints_what_the_window_gives():
    colours = {f"x0028110{n}": attribute("US", 4, 0, 8) for n in (1, 2, 3)}
    for n in (1, 2, 3):
        colours[f"x0028120{n}"] = {"vr": "OW", "InlineBinary": base64.b64encode(bytes((0, n, 20 * n, 80 * n))).decode()}
    found = state(3, **colours, x00283110=sequence(window(8) | {"00281051": attribute("DS", 16.0)}))
    look = look_of(found, IMAGE, "1.2", 1)
    assert look.palette == Palette(0, bytes((0, 1, 20, 80)), bytes((0, 2, 40, 160)), bytes((0, 3, 60, 240)))
    ramp = np.arange(16, dtype="<u2").tobytes()
    picture = render(
        ramp, EXPLICIT, Format(4, 4), Look(palette=look.palette, windows=look.windows), Rendering("image/png")
    )
    got = opened(picture).reshape(-1, 3)
    assert got[0].tolist() == [0, 0, 0]
    assert got[5].tolist() == [1, 2, 3]
    assert got[15].tolist() == [80, 160, 240]


def test_a_colour_state_leaves_the_colours_of_an_image_alone():
    profile = {"vr": "OB", "InlineBinary": base64.b64encode(b"profile!").decode()}
    look = look_of(state(2, x00282000=profile), Look("colour", profile=b"own"), "1.2", 1)
    assert (look.kind, look.profile) == ("colour", b"profile!")


def test_graphics_are_drawn_where_they_belong():
    black = np.zeros((100, 100), "<u2").tobytes()
    graphics = (
        Graphic("CIRCLE", ((50, 50), (50, 40))),
        Graphic("ELLIPSE", ((10, 80), (40, 80), (25, 70), (25, 90)), filled=True),
        Graphic("POLYLINE", ((0.9, 0.1), (0.9, 0.3)), display=True),
        Graphic("POINT", ((80, 80),)),
        Graphic("INTERPOLATED", ((60, 10), (70, 20), (80, 10)), colour=(0, 255, 0)),
        Graphic("TEXT", ((5, 5),), text="Text"),
    )
    got = opened(render(black, EXPLICIT, Format(100, 100), Look(graphics=graphics), Rendering("image/png")))
    assert got.shape == (100, 100, 3)
    yellow, green = (255, 255, 0), (0, 255, 0)
    for row, column in ((40, 50), (50, 60), (80, 25), (80, 12), (20, 90), (80, 80), (78, 80)):
        assert tuple(got[row, column]) == yellow, (row, column)
    assert tuple(got[50, 50]) == (0, 0, 0)
    assert tuple(got[20, 70]) == green
    assert got[5:20, 5:40, 0].max() > 180


@pytest.mark.parametrize("kind", ["POINT", "POLYLINE", "INTERPOLATED", "CIRCLE", "ELLIPSE", "TEXT", "", "MULTIPOINT"])
@pytest.mark.parametrize("points", [(), ((1, 1),), ((1e30, -1e30),) * 2, ((5, 5),) * 4, ((1, 1), (9, 9), (1, 9))])
def test_odd_graphics_do_no_harm(kind, points):
    graphic = Graphic(kind, points, filled=True, text="a\nb")
    look = Look(graphics=(graphic, graphic._replace(display=True)))
    assert render(bytes(200), EXPLICIT, Format(10, 10), look, Rendering("image/jpeg"))


def test_frames_are_put_in_order_by_dimensions_or_place():
    frames = [{"00209111": sequence({"00209157": attribute("UL", 2, n)})} for n in (3, 1)]
    assert [position_of({"52009230": sequence(*frames)}, number) for number in (1, 2, 3)] == [(2, 3), (2, 1), ()]
    plain = {"00200032": attribute("DS", 1.0, 2.0, 3.0), "00200037": attribute("DS", 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)}
    assert position_of(plain, 1) == (3.0,)
    grouped = {
        "52009229": sequence({"00209116": sequence({"00200037": plain["00200037"]})}),
        "52009230": sequence({"00209113": sequence({"00200032": attribute("DS", 0.0, 0.0, 9.0)})}),
    }
    assert position_of(grouped, 1) == (9.0,)


def test_a_real_state_refers_to_an_image_and_turns_it():
    made = stored(real("orthanc-tests/Issue168.dcm"))
    found = read_state(made.object.dataset, made.fetch)
    assert found.references
    assert all(reference.series and reference.instance for reference in found.references)
    look = look_of(found, Look(), found.references[0].instance, 1)
    assert look.area is not None


# -- beside DCMTK -------------------------------------------------------------------------------------------


def pair(**changes: Any) -> tuple[bytes, bytes, str]:
    """An image with a window that would show nothing, a grayscale state for it, and the image's UID."""
    rng = np.random.default_rng(0)
    pixels = np.add.outer(np.arange(40) * 60, np.arange(50) * 30) + rng.integers(0, 100, (40, 50))
    image = dicoms.dataset(
        Rows=40, Columns=50, BitsStored=12, HighBit=11, PixelData=pixels.astype("<u2").tobytes(), RescaleSlope=1,
        RescaleIntercept=0, WindowCenter=5, WindowWidth=5,
    )  # fmt: skip

    def item(**attributes: Any) -> Dataset:
        made = Dataset()
        for keyword, value in attributes.items():
            setattr(made, keyword, value)
        return made

    reference = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    series = item(SeriesInstanceUID=image.SeriesInstanceUID, ReferencedImageSequence=[reference])
    area = item(
        DisplayedAreaTopLeftHandCorner=[1, 1], DisplayedAreaBottomRightHandCorner=[50, 40],
        PresentationSizeMode="SCALE TO FIT", PresentationPixelAspectRatio=[1, 1],
    )  # fmt: skip
    described = {
        "ContentLabel": "TEST", "PresentationCreationDate": "20240101", "PresentationCreationTime": "000000",
        "ReferencedSeriesSequence": [series], "DisplayedAreaSelectionSequence": [area],
        "PresentationLUTShape": "IDENTITY", "RescaleSlope": 1, "RescaleIntercept": 0, "RescaleType": "US",
        "SoftcopyVOILUTSequence": [item(WindowCenter=1500, WindowWidth=2000)],
    }  # fmt: skip
    pixelless = dict.fromkeys(
        ["SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
         "PixelRepresentation", "PixelData"]
    )  # fmt: skip
    ds = dicoms.dataset(2, series=2, SOPClassUID=f"{STATE}1", Modality="PR", **pixelless, **(described | changes))
    return dicoms.part10(image), dicoms.part10(ds), str(image.SOPInstanceUID)


@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="dcmp2pgm is not installed: apt-get install dcmtk")
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PresentationLUTShape": "INVERSE"},
        {"ImageRotation": 90, "ImageHorizontalFlip": "N"},
        {"ImageRotation": 270, "ImageHorizontalFlip": "Y"},
        {"ImageRotation": 180, "ImageHorizontalFlip": "Y"},
        {"SoftcopyVOILUTSequence": None},
        {"RescaleSlope": 2, "RescaleIntercept": -1024},
    ],
    ids=str,
)
def test_states_show_what_dcmtk_shows_within_a_gray_level(changes, tmp_path):
    image, state_, instance = pair(**changes)
    paths = [tmp_path / name for name in ("image.dcm", "state.dcm", "out.pgm")]
    paths[0].write_bytes(image)
    paths[1].write_bytes(state_)
    command = ["dcmp2pgm", "-p", str(paths[1]), str(paths[0]), str(paths[2])]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    theirs = np.asarray(Image.open(paths[2])).astype(int)
    made, shown = stored(image), stored(state_)
    look = look_of(read_state(shown.object.dataset, shown.fetch), made.look(), instance, 1)
    assert np.abs(made.picture(look=look).astype(int) - theirs).max() <= 1
