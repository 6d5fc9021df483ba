"""Rendered pictures: beside DCMTK's within a gray level, of every kind of object, and of damaged ones."""

import io
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import dicoms
import numpy as np
import pytest
from pictured import Stored, opened, stored
from PIL import Image, ImageCms
from realdata import real

from dicomweb.errors import BadObject, BadRequest, Error, Undecodable
from dicomweb.imaging.looks import Look
from dicomweb.imaging.overlays import Overlay, Shutter
from dicomweb.imaging.profiles import profile_of
from dicomweb.imaging.render import render, render_many
from dicomweb.imaging.tables import Palette
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import Rendering, Viewport, Window
from dicomweb.standard.syntaxes import EXPLICIT

needs_dcmtk = pytest.mark.skipif(
    shutil.which("dcmj2pnm") is None, reason="dcmj2pnm is not installed: apt-get install dcmtk"
)

GRAY = Format(4, 4, 1, "MONOCHROME2", 0, 16, 16, 15, False)
RAMP = np.arange(16, dtype="<u2").reshape(4, 4)


def drawn(array: np.ndarray, format: Format = GRAY, look: Look | None = None, **wanted) -> np.ndarray:
    """An array as a PNG, read back."""
    rendering = Rendering(**{"media_type": "image/png", **wanted})
    format = replace(format, rows=array.shape[0], columns=array.shape[1])
    return opened(render(array.tobytes(), EXPLICIT, format, look or Look(), rendering))


def dcmtk(path: Path, tmp_path: Path, *options: str) -> np.ndarray:
    """What DCMTK makes of the first frame."""
    out = tmp_path / "dcmtk.pnm"
    subprocess.run(
        ["dcmj2pnm", "+ob", "-S", *options, str(path), str(out)], check=True, capture_output=True, timeout=60
    )
    return np.asarray(Image.open(out))


def without_extras(made: Stored) -> Look:
    """As DCMTK draws with -S and -O: pixels unscaled, no overlays, no shutter."""
    return replace(made.look(), aspect=1.0, overlays=(), shutter=None)


# -- beside DCMTK -------------------------------------------------------------------------------------------


@needs_dcmtk
@pytest.mark.parametrize(
    "name",
    [
        "cornerstoneWADOImageLoader/CTImage.dcm",
        "cornerstoneWADOImageLoader/CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm",
        "cornerstoneWADOImageLoader/CTImage.dcm_JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm",
        "cornerstoneWADOImageLoader/CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm",
        "cornerstoneWADOImageLoader/CTImage.dcm_RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm",
        "dcm4che/dcm4che-test-data__MR-JPEGLosslessSV1.dcm",
        "dcm4che/etc__dicom__MR01.dcm",
        "dcmqi/paramaps__pm-example-slice.dcm",
        "dicom-test-files/WG04__JPLY__MG1_JPLY.dcm",
        "fo-dicom/FO-DICOM.Benchmark__Data__GH355.dcm",
        "fo-dicom/OutOfBoundsOverlay.dcm",
        "orthanc-tests/Issue44__Monochrome1-Jpeg.dcm",
        "orthanc-tests/KarstenHilbertRF.dcm",
        "orthanc-tests/PrivateMDNTags.dcm",
        "rt-utils/mock_data__ct_1.dcm",
    ],
)
def test_windowed_real_pictures_are_those_of_dcmtk_within_a_gray_level(name, tmp_path):
    path = real(name)
    made = stored(path)
    theirs = dcmtk(path, tmp_path, "-O", "+Wi", "1")
    assert np.abs(made.picture(look=without_extras(made)).astype(int) - theirs).max() <= 1


@needs_dcmtk
@pytest.mark.parametrize(
    "name",
    [
        "dicom-test-files/pydicom__OBXXXX1A_expb.dcm",
        "dicom-test-files/pydicom__OBXXXX1A_rle_2frame.dcm",
        "dicom-test-files/pydicom__OT-PAL-8-face.dcm",
        "highdicom/seg_image_sm_control_labelmap_palette_color.dcm",
        "dicom-test-files/pydicom__color-px.dcm",
        "highdicom/sm_image_dots.dcm",
        "built/wsi-pyramid/level-2.dcm",
        "pydicom/pydicom__SC_ybr_full_422_uncompressed.dcm",
        "pylibjpeg-data/ds__JPEGExtended__JPEGExtended_3s_1f_u_08_08.dcm",
        "dicom/6.dcm",
    ],
)
def test_real_pictures_that_need_no_window_are_those_of_dcmtk_within_a_level(name, tmp_path):
    path = real(name)
    made = stored(path)
    ours, theirs = made.picture(look=without_extras(made)).astype(int), dcmtk(path, tmp_path, "-O")
    assert np.abs(ours - (theirs if theirs.ndim == ours.ndim else theirs[..., np.newaxis])).max() <= 1


@needs_dcmtk
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("bits", "signed"), [(8, 0), (10, 0), (12, 0), (12, 1), (16, 0), (16, 1)])
@pytest.mark.parametrize("slope", [(1, 0), (3, -1024)])
def test_generated_pictures_are_those_of_dcmtk_within_a_gray_level(photometric, bits, signed, slope, tmp_path):
    # Slopes are whole: DCMTK rounds what comes out of others before it windows, and mistakes the last value
    rng = np.random.default_rng(bits)
    least = -(1 << (bits - 1)) if signed else 0
    array = rng.integers(least, least + (1 << bits), (40, 50)).astype("<i2" if signed else "<u2")
    cells = (array.astype(int) & ((1 << bits) - 1)).astype("<u2")
    ds = dicoms.dataset(
        Rows=40, Columns=50, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=signed,
        PhotometricInterpretation=photometric, PixelData=cells.tobytes(),
        RescaleSlope=slope[0], RescaleIntercept=slope[1],
        WindowCenter=slope[0] * (least + (1 << bits) * 0.6) + slope[1], WindowWidth=slope[0] * (1 << bits) * 0.3,
    )  # fmt: skip
    path = tmp_path / "made.dcm"
    path.write_bytes(dicoms.part10(ds))
    theirs = dcmtk(path, tmp_path, "-O", "+Wi", "1")
    assert np.abs(stored(path).picture().astype(int) - theirs).max() <= 1


@needs_dcmtk
def test_a_sigmoid_and_a_table_are_those_of_dcmtk_within_a_gray_level(tmp_path):
    array = np.arange(4096, dtype="<u2").reshape(64, 64)
    common = {"Rows": 64, "Columns": 64, "BitsStored": 12, "HighBit": 11, "PixelData": array.tobytes()}
    path = tmp_path / "made.dcm"
    path.write_bytes(dicoms.ct(WindowCenter=2000, WindowWidth=1500, VOILUTFunction="SIGMOID", **common))
    assert np.abs(stored(path).picture().astype(int) - dcmtk(path, tmp_path, "+Wi", "1", "+Wfs")).max() <= 1

    item = dicoms.Dataset()
    item.LUTDescriptor = [1000, 500, 12]
    item.LUTData = (np.sqrt(np.arange(1000) / 999) * 4095).astype("<u2").tobytes()
    path.write_bytes(dicoms.ct(VOILUTSequence=[item], **common))
    assert np.abs(stored(path).picture().astype(int) - dcmtk(path, tmp_path, "+Wl", "1")).max() <= 1


@needs_dcmtk
def test_overlays_are_those_of_dcmtk(tmp_path):
    rng = np.random.default_rng(1)
    ds = dicoms.dataset(Rows=40, Columns=50, PixelData=rng.integers(0, 4000, (40, 50)).astype("<u2").tobytes(),
                        WindowCenter=2000, WindowWidth=3000)  # fmt: skip
    for group, rows, columns, origin in ((0x6000, 40, 50, [1, 1]), (0x6004, 21, 33, [11, -6])):
        bits = rng.integers(0, 8, rows * columns) == 0
        ds.add_new((group, 0x10), "US", rows)
        ds.add_new((group, 0x11), "US", columns)
        ds.add_new((group, 0x40), "CS", "G")
        ds.add_new((group, 0x50), "SS", origin)
        ds.add_new((group, 0x100), "US", 1)
        ds.add_new((group, 0x102), "US", 0)
        packed = np.packbits(bits, bitorder="little").tobytes()
        ds.add_new((group, 0x3000), "OW", packed + b"\0" * (len(packed) % 2))
    path = tmp_path / "made.dcm"
    path.write_bytes(dicoms.part10(ds))
    theirs = dcmtk(path, tmp_path, "+Wi", "1", "+O", "0")
    assert np.abs(stored(path).picture().astype(int) - theirs).max() <= 1


# -- one step each ------------------------------------------------------------------------------------------


def test_the_window_of_the_client_counts():
    got = drawn(RAMP, window=Window(8, 4, "LINEAR_EXACT"))
    assert got.ravel().tolist() == [0] * 7 + [64, 128, 191] + [255] * 6


def test_monochrome1_is_inverted_once():
    look = Look(inverse=True, windows=(Window(8, 16),))
    got = drawn(RAMP, replace(GRAY, photometric="MONOCHROME1"), look)
    assert got.ravel().tolist() == [255 - 17 * value for value in range(16)]


def test_sixteen_bits_are_the_same_shades_finer():
    look = Look(windows=(Window(8, 16),))
    deep = drawn(RAMP, look=look, deep=True)
    assert deep.astype(int).ravel().tolist() == [4369 * value for value in range(16)]
    assert (deep // 257 == drawn(RAMP, look=look)).all()


@pytest.mark.parametrize("media_type", ["image/jp2", "image/jph", "image/jxl"])
def test_sixteen_bits_go_into_other_lossless_pictures(media_type):
    import imagecodecs

    decode = {
        "image/jp2": imagecodecs.jpeg2k_decode,
        "image/jph": imagecodecs.jpeg2k_decode,
        "image/jxl": imagecodecs.jpegxl_decode,
    }[media_type]
    array = np.random.default_rng(0).integers(0, 65536, (40, 50)).astype("<u2")
    look = Look(windows=(Window(32768, 65536),))
    picture = render(
        array.tobytes(), EXPLICIT, replace(GRAY, rows=40, columns=50), look, Rendering(media_type, deep=True)
    )
    assert (decode(picture) == array).all()
    if media_type == "image/jph":
        assert picture[4:8] == b"jP  "
        assert picture[20:24] == b"jph "


def test_jpeg_is_baseline():
    picture = render(RAMP.tobytes(), EXPLICIT, GRAY, Look(), Rendering("image/jpeg"))
    assert b"\xff\xc0" in picture
    assert b"\xff\xc2" not in picture
    assert Image.open(io.BytesIO(picture)).mode == "L"


def test_quality_makes_jpeg_smaller():
    array = np.random.default_rng(0).integers(0, 65536, (64, 64)).astype("<u2")
    format = replace(GRAY, rows=64, columns=64)
    sizes = [
        len(render(array.tobytes(), EXPLICIT, format, Look(), Rendering("image/jpeg", quality=quality)))
        for quality in (10, 50, 100)
    ]
    assert sizes == sorted(set(sizes))


def test_colours_keep_their_order_planes_or_not():
    rgb = np.zeros((4, 4, 3), "u1")
    rgb[0], rgb[1], rgb[2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    format = Format(4, 4, 3, "RGB", 0, 8, 8, 7)
    assert (drawn(rgb, format, Look("colour")) == rgb).all()
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1))
    got = render(planes.tobytes(), EXPLICIT, replace(format, planar=1), Look("colour"), Rendering("image/png"))
    assert (opened(got) == rgb).all()


def test_colours_of_sixteen_bits_have_their_upper_eight():
    rgb = np.random.default_rng(0).integers(0, 65536, (4, 4, 3)).astype("<u2")
    assert (drawn(rgb, Format(4, 4, 3, "RGB", 0, 16, 16, 15), Look("colour")) == rgb >> 8).all()


def test_retired_colours_of_four_samples():
    four = np.array([[[9, 250, 100, 50]]], "u1")
    assert drawn(four, Format(1, 1, 4, "ARGB", 0, 8, 8, 7), Look("colour")).tolist() == [[[250, 100, 50]]]
    assert drawn(four, Format(1, 1, 4, "CMYK", 0, 8, 8, 7), Look("colour")).tolist() == [[[196, 0, 105]]]


def test_windows_leave_colours_alone():
    rgb = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype("u1")
    assert (drawn(rgb, Format(4, 4, 3, "RGB", 0, 8, 8, 7), Look("colour"), window=Window(5, 2)) == rgb).all()


PALETTE = Palette(2, bytes((10, 20, 30)), bytes((40, 50, 60)), bytes((70, 80, 90)))


def test_pixels_outside_of_a_palette_have_its_first_and_last_colour():
    got = drawn(RAMP, replace(GRAY, photometric="PALETTE COLOR"), Look("palette", palette=PALETTE))
    assert got.reshape(-1, 3)[[0, 2, 3, 4, 15], 0].tolist() == [10, 10, 20, 30, 30]


def test_a_palette_that_cannot_be_read_leaves_shades():
    assert drawn(RAMP, replace(GRAY, photometric="PALETTE COLOR"), Look("palette")).ndim == 2


def test_a_supplemental_palette_colours_what_lies_above_its_first_value():
    look = Look("supplemental", palette=PALETTE, windows=(Window(8, 16),))
    got = drawn(RAMP, look=look).reshape(-1, 3)
    assert got[1].tolist() == [17, 17, 17]
    assert got[2].tolist() == [10, 40, 70]


def test_segments_are_their_colour_as_strong_as_they_are():
    array = np.array([[0, 100], [200, 200]], "u1")
    look = Look("segmentation", colour=(200, 100, 50), full=200)
    got = drawn(array, Format(2, 2, 1, "MONOCHROME2", 0, 8, 8, 7), look)
    assert got.tolist() == [[[0, 0, 0], [100, 50, 25]], [[200, 100, 50]] * 2]


def test_segments_of_one_bit_are_drawn():
    look = Look("segmentation", colour=(200, 100, 50))
    format = Format(2, 4, 1, "MONOCHROME2", 0, 1, 1, 0)
    got = opened(render(b"\x0f", EXPLICIT, format, look, Rendering("image/png")))
    assert got[0, 0].tolist() == [200, 100, 50]
    assert got[1].max() == 0


def test_labels_have_their_colours():
    array = np.array([[0, 1], [7, 9]], "u1")
    look = Look("labels", labels=((1, (1, 2, 3)), (7, (4, 5, 6))))
    got = drawn(array, Format(2, 2, 1, "MONOCHROME2", 0, 8, 8, 7), look)
    assert got.tolist() == [[[0, 0, 0], [1, 2, 3]], [[4, 5, 6], [0, 0, 0]]]


def test_doses_go_from_black_over_blue_to_red():
    array = np.linspace(0, 1e9, 64).reshape(8, 8).astype("<u4")
    got = drawn(array, Format(8, 8, 1, "MONOCHROME2", 0, 32, 32, 31), Look("dose", slope=1e-8))
    assert got[0, 0].tolist() == [0, 0, 0]
    assert got[-1, -1].tolist() == [255, 0, 0]
    assert got[2, 0, 2] > got[2, 0, 0]


def test_overlays_in_unused_bits_of_native_pixels_are_drawn():
    array = RAMP.copy()
    array[1, 2] |= 1 << 12
    format = replace(GRAY, stored=12, high=11)
    look = Look(windows=(Window(8, 16),), overlays=(Overlay(4, 4, bit=12),))
    got = drawn(array, format, look)
    assert got[1, 2] == 255
    assert got[1, 1] == 17 * 5


def test_regions_of_interest_are_outlines():
    bits = np.zeros((16, 16), bool)
    bits[2:12, 2:12] = True
    overlay = Overlay(16, 16, region=True, data=np.packbits(bits, bitorder="little").tobytes())
    got = drawn(np.zeros((16, 16), "<u2"), look=Look(overlays=(overlay,)))
    assert got[2, 5] == 255
    assert got[6, 6] == 0


def test_shutters_hide_what_lies_outside():
    array = np.full((20, 20), 1000, "<u2")
    shutter = Shutter(rectangle=(3, 18, 5, 16), circle=(10, 10, 7), gray=32768)
    got = drawn(array, look=Look(windows=(Window(500, 100),), shutter=shutter))
    assert got[10, 10] == 255
    assert got[0, 0] == got[10, 0] == got[3, 10] == got[17, 10] == 128
    polygon = Shutter(polygon=((1, 1), (1, 20), (20, 1)))
    got = drawn(array, look=Look(windows=(Window(500, 100),), shutter=polygon))
    assert (got[2, 2], got[18, 18]) == (255, 0)


def test_thumbnails_have_neither_overlays_nor_annotations():
    overlay = Overlay(16, 16, data=b"\xff" * 32)
    look = Look(overlays=(overlay,), patient=("Somebody",))
    picture = render(
        np.zeros((16, 16), "<u2").tobytes(), EXPLICIT, replace(GRAY, rows=16, columns=16), look,
        Rendering("image/jpeg", thumbnail=True, annotation=("patient",)),
    )  # fmt: skip
    assert opened(picture).max() == 0


def test_annotations_are_burned_in_only_where_they_are_asked_for():
    black = np.zeros((200, 200), "<u2")
    look = Look(patient=("Somebody, Some",), technique=("CT 120 kV",), windows=(Window(40, 400),))
    assert drawn(black, look=replace(look, windows=(Window(400, 40),))).max() == 0
    above = drawn(black, look=replace(look, windows=(Window(400, 40),)), annotation=("patient",))
    below = drawn(black, look=replace(look, windows=(Window(400, 40),)), annotation=("technique",))
    assert above[:50].max() > 200
    assert above[100:].max() == 0
    assert below[150:].max() > 200
    assert below[:100].max() == 0


@pytest.mark.parametrize(
    "name", ["Ångström^Łucja", "山田^太郎", "김^희중", "Люкceмбypг", "شهرة", "👩‍⚕️\u0000\u202e", "x" * 5000]
)
def test_names_in_any_script_are_written_as_far_as_they_can_be(name):
    black = np.zeros((100, 100), "<u2")
    look = Look(patient=(name,), windows=(Window(400, 40),))
    assert drawn(black, look=look, annotation=("patient",)).max() > 100


def test_long_lines_are_written_smaller():
    black = np.zeros((600, 600), "<u2")
    look = Look(patient=("W" * 40,), windows=(Window(400, 40),))
    written = np.flatnonzero(drawn(black, look=look, annotation=("patient",)).max(axis=0))
    assert 540 < written.max() < 599


# -- colour profiles ----------------------------------------------------------------------------------------

RGB = np.random.default_rng(3).integers(0, 256, (8, 8, 3)).astype("u1")
COLOUR = Format(8, 8, 3, "RGB", 0, 8, 8, 7)


def profiled(space: str, media_type: str = "image/png", look: Look | None = None) -> tuple[Image.Image, bytes]:
    data = render(RGB.tobytes(), EXPLICIT, COLOUR, look or Look("colour"), Rendering(media_type, iccprofile=space))
    image = Image.open(io.BytesIO(data))
    return image, image.info.get("icc_profile", b"")


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg"])
def test_profiles_are_in_the_picture_when_they_are_asked_for(media_type):
    assert profiled("no", media_type)[1] == b""
    for space in ("yes", "srgb", "adobergb", "rommrgb"):
        profile = ImageCms.ImageCmsProfile(io.BytesIO(profiled(space, media_type)[1]))
        assert profile.profile.xcolor_space == "RGB "


def test_colours_are_converted_into_the_space_that_is_named():
    for space in ("adobergb", "rommrgb"):
        image, profile = profiled(space)
        back = ImageCms.profileToProfile(image, io.BytesIO(profile), io.BytesIO(profile_of("srgb")), outputMode="RGB")
        assert np.abs(np.asarray(back).astype(int) - RGB).max() <= 12
        assert np.abs(np.asarray(image).astype(int) - RGB).max() > 20


def test_our_srgb_is_the_srgb_of_others():
    theirs = ImageCms.createProfile("sRGB")
    back = ImageCms.profileToProfile(
        Image.fromarray(RGB), io.BytesIO(profile_of("srgb")), ImageCms.ImageCmsProfile(theirs), outputMode="RGB"
    )
    assert np.abs(np.asarray(back).astype(int) - RGB).max() <= 1


def test_the_profile_of_the_object_is_kept_or_converted_from():
    own = profile_of("adobergb")
    image, profile = profiled("yes", look=Look("colour", profile=own))
    assert profile == own
    assert (np.asarray(image) == RGB).all()
    assert (np.asarray(profiled("adobergb", look=Look("colour", profile=own))[0]) == RGB).all()
    assert not (np.asarray(profiled("srgb", look=Look("colour", profile=own))[0]) == RGB).all()


def test_a_profile_that_is_none_is_passed_over():
    for broken in (b"x", b"\0" * 200, profile_of("srgb")[:300], b"\xff" * 500):
        image, _ = profiled("srgb", look=Look("colour", profile=broken))
        assert (np.asarray(image) == RGB).all()


def test_shades_have_a_gray_profile():
    data = render(RAMP.tobytes(), EXPLICIT, GRAY, Look(), Rendering("image/jpeg", iccprofile="yes"))
    profile = Image.open(io.BytesIO(data)).info["icc_profile"]
    assert ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space == "GRAY"


def test_equal_requests_have_equal_answers():
    assert profiled("rommrgb")[1] == profiled("rommrgb")[1]


# -- stored JPEG pictures -----------------------------------------------------------------------------------


def jpeg(quality: int = 80, **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(RGB).save(out, "JPEG", quality=quality, **options)
    return out.getvalue()


BASELINE = "1.2.840.10008.1.2.4.50"
YBR = Format(8, 8, 3, "YBR_FULL_422", 0, 8, 8, 7)


def test_a_stored_jpeg_picture_is_the_answer_as_it_is():
    data = jpeg()
    assert render(data, BASELINE, YBR, Look("colour"), Rendering("image/jpeg")) == data


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        (Look("colour", overlays=(Overlay(8, 8, data=b"\xff" * 8),)), {}),
        (Look("colour", aspect=2.0), {}),
        (Look("colour", patient=("X",)), {"annotation": ("patient",)}),
        (Look("colour"), {"quality": 50}),
        (Look("colour"), {"viewport": Viewport(4, 4)}),
        (Look("colour"), {"iccprofile": "yes"}),
        (Look("colour"), {"thumbnail": True}),
    ],
)
def test_a_stored_jpeg_picture_is_drawn_anew_where_anything_is_done_to_it(look, wanted):
    data = jpeg()
    assert render(data, BASELINE, YBR, look, Rendering("image/jpeg", **wanted)) != data


def test_a_stored_jpeg_picture_with_a_profile_is_drawn_anew_and_its_profile_can_be_had():
    data = jpeg(icc_profile=profile_of("adobergb"))
    plain = render(data, BASELINE, YBR, Look("colour"), Rendering("image/jpeg"))
    assert "icc_profile" not in Image.open(io.BytesIO(plain)).info
    asked = render(data, BASELINE, YBR, Look("colour"), Rendering("image/jpeg", iccprofile="yes"))
    assert Image.open(io.BytesIO(asked)).info["icc_profile"] == profile_of("adobergb")


# -- animations ---------------------------------------------------------------------------------------------


def test_frames_become_an_animation_with_their_times():
    frames = [(np.full((4, 4), value, "<u2").tobytes(), Look(windows=(Window(8, 16),))) for value in (0, 5, 15)]
    data = render_many(frames, EXPLICIT, GRAY, Rendering("image/gif"), [0.04, 0.1, 1.0])
    image = Image.open(io.BytesIO(data))
    assert image.n_frames == 3
    seen = []
    for index in range(3):
        image.seek(index)
        seen.append((image.info["duration"], np.asarray(image.convert("L"))[0, 0]))
    assert seen == [(40, 0), (100, 85), (1000, 255)]


def test_an_animation_without_a_window_does_not_flicker():
    frames = [((RAMP * scale).tobytes(), Look()) for scale in (100, 200, 50)]
    image = Image.open(io.BytesIO(render_many(frames, EXPLICIT, GRAY, Rendering("image/gif"), [0.1] * 3)))
    brightest = []
    for index in range(3):
        image.seek(index)
        brightest.append(int(np.asarray(image.convert("L")).max()))
    assert brightest == [pytest.approx(127, abs=2), 255, pytest.approx(64, abs=2)]


def test_too_many_frames_or_pixels_are_refused():
    frame = (RAMP.tobytes(), Look())
    with pytest.raises(BadRequest, match="more than 500 frames"):
        render_many([frame] * 501, EXPLICIT, GRAY, Rendering("image/gif"), [0.1] * 501)
    with pytest.raises(BadRequest, match="more than 40 pixels"):
        render_many([frame] * 3, EXPLICIT, GRAY, Rendering("image/gif"), [0.1] * 3, 40)
    with pytest.raises(Undecodable):
        render_many([], EXPLICIT, GRAY, Rendering("image/gif"), [])


# -- what is damaged (A21) ----------------------------------------------------------------------------------


def test_too_few_bytes_and_too_many_pixels_are_undecodable():
    with pytest.raises(Undecodable):
        render(b"\0" * 31, EXPLICIT, GRAY, Look(), Rendering("image/png"))
    with pytest.raises(Error, match="15"):
        render(RAMP.tobytes(), EXPLICIT, GRAY, Look(), Rendering("image/png"), 15)


@pytest.mark.parametrize("change", [{"samples": 255}, {"rows": 0}, {"allocated": 24}, {"columns": 0}])
def test_descriptions_of_no_picture_are_undecodable(change):
    with pytest.raises(Undecodable):
        render(b"\0" * 100_000, EXPLICIT, replace(GRAY, **change), Look(), Rendering("image/png"))


def wild(seed: int) -> Look:
    chance = random.Random(seed)
    number = [0.0, -1.0, 1.0, 1e-300, 1e30, -1e30, 1e-9, 65536.0, 3.5]
    some = lambda: chance.choice(number)  # noqa: E731
    return Look(
        kind=chance.choice(["grayscale", "colour", "palette", "supplemental", "segmentation", "labels", "dose"]),
        modality=chance.choice(["", "PT"]),
        slope=some(),
        intercept=some(),
        windows=chance.choice([(), (Window(some(), abs(some()) or 1, chance.choice(["LINEAR", "SIGMOID"])),)]),
        inverse=chance.random() < 0.5,
        entire=chance.random() < 0.3,
        padding=chance.choice([None, (some(), some()), (-1e9, 1e9)]),
        palette=chance.choice([None, PALETTE, PALETTE._replace(first=-70_000), PALETTE._replace(first=70_000)]),
        colour=chance.choice([None, (1, 2, 3)]),
        labels=chance.choice([(), ((-1, (1, 2, 3)), (70_000, (1, 2, 3)))]),
        full=chance.choice([1, 255, 65535]),
        overlays=chance.choice(
            [(), (Overlay(65535, 65535, -40_000, -40_000, data=b"\xff" * 9),), (Overlay(3, 3, 2, 2, True, b"\xff"),),
             (Overlay(4, 4, bit=31),), (Overlay(4, 4, bit=15),), (Overlay(1, 65535, 3, -65534, data=b"\xff" * 8192),)]
        ),
        shutter=chance.choice([None, Shutter((some(), some(), some(), some()), (some(), some(), some()),
                                             ((some(), some()),) * 3, Overlay(9, 9, 1, 1, data=b""))]),
        aspect=chance.choice([1.0, 20.0, 0.05]),
        profile=chance.choice([b"", b"\0" * 500]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_wild_looks_make_a_picture_or_are_refused(seed):
    chance = random.Random(seed)
    kind = chance.choice(["u1", "i1", "<u2", "<i2", "<u4", "<f4", "<f8"])
    width = np.dtype(kind).itemsize * 8
    data = chance.randbytes(16 * width // 8)
    format = Format(
        4, 4, 1, "MONOCHROME2", 0, width, chance.choice([width, max(width - 4, 1)]), width - 1, "i" in kind,
        {"<f4": "float", "<f8": "double"}.get(kind, "integer"),
    )  # fmt: skip
    rendering = Rendering(
        chance.choice(["image/png", "image/jpeg", "image/gif"]), annotation=("technique",),
        window=chance.choice([None, Window(0, 1), Window(1e29, 1e-20, "SIGMOID")]),
    )  # fmt: skip
    try:
        picture = render(data, EXPLICIT, format, wild(seed), rendering)
    except (Undecodable, BadRequest):
        return
    assert opened(picture).size


def test_every_real_picture_is_rendered_or_refused():
    from realdata import real_files

    refused = []
    for path in real_files():
        try:
            made = stored(path)
        except Error:
            continue
        if made.object.layout.kind in ("none", "video"):
            continue
        try:
            number = (made.object.layout.count + 1) // 2
            made.rendered(Rendering("image/jpeg", viewport=Viewport(64, 64)), number)
        except Undecodable:
            refused.append(path.name)
    assert set(refused) <= {"genFile.dcm"}


def lut(descriptor: list[int], data: bytes) -> dicoms.Dataset:
    item = dicoms.Dataset()
    item.LUTDescriptor = descriptor
    item.LUTData = data
    return item


def palette_of(descriptor: list[int], data: bytes) -> dict[str, object]:
    made: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in ("Red", "Green", "Blue"):
        made[f"{colour}PaletteColorLookupTableDescriptor"] = descriptor
        made[f"{colour}PaletteColorLookupTableData"] = data
    return made


@pytest.mark.parametrize(
    "attributes",
    [
        {"BitsStored": 20, "HighBit": 19},
        {"BitsStored": 0, "HighBit": 0},
        {"HighBit": 3},
        {"WindowCenter": 5, "WindowWidth": 0},
        {"WindowCenter": 5, "WindowWidth": -3},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": "1e300", "RescaleIntercept": "-1e300"},
        {"VOILUTSequence": [lut([4096, 0, 12], b"\1\0\2\0")]},
        {"VOILUTSequence": [lut([0, 0, 0], b"")]},
        {"ModalityLUTSequence": [lut([256, 40, 16], bytes(512))]},
        {"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 65535},
        {"PixelAspectRatio": [0, 0]},
        {"PixelSpacing": [1e-9, 1e9]},
        {"SamplesPerPixel": 255},
        {"NumberOfFrames": -1},
        {"ICCProfile": b"no profile at all"},
        palette_of([0, 0, 16], b"\1\0"),
        palette_of([4, 60, 8], b"\1\2\3\4"),
        palette_of([2, 65535, 16], b"\1\2\3\4"),
    ],
    ids=lambda attributes: "-".join(f"{name}" for name in list(attributes)[:2]),
)
def test_objects_that_describe_themselves_oddly_are_drawn_or_refused(attributes):
    try:
        made = stored(dicoms.ct(**attributes))
        picture = made.rendered(Rendering("image/png", iccprofile="srgb", annotation=("patient", "technique")))
    except (BadObject, Undecodable):
        return
    assert opened(picture).shape[:2] == (8, 8)


def test_pixels_above_a_palette_show_no_memory_of_others():
    made = stored(dicoms.ct(**palette_of([2, 3, 16], b"\0\x10\0\x20")))
    assert set(made.picture()[..., 0].ravel().tolist()) == {0x10, 0x20}
