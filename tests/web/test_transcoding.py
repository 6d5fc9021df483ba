"""Frames, pixel data and whole instances leave in the transfer syntax that the client asks for (PS3.18 8.7.3), and
what describes the pixels says what they are."""

import io
import itertools
from concurrent.futures import ThreadPoolExecutor

import dicoms
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import pixel_array as pydicom_pixels
from served import Served, compressed, parts, path_of, with_items, written

from dicomweb.imaging.transcode import transcode
from dicomweb.standard.pixels import Format
from dicomweb.workshop import Lent, Workshop

EXPLICIT = "1.2.840.10008.1.2.1"
RLE, JPEG, JPEG_LOSSLESS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_2000, JPEG_2000_LOSSY = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
HTJ2K, RPCL, JPEG_XL = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.110"
IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
LOSSLESS = [RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K, RPCL]
TYPES = {
    RLE: "image/dicom-rle", JPEG: "image/jpeg", JPEG_LOSSLESS: "image/jpeg", JPEG_LS: "image/jls",
    JPEG_2000: "image/jp2", JPEG_2000_LOSSY: "image/jp2", HTJ2K: "image/jphc", RPCL: "image/jphc",
    JPEG_XL: "image/jxl",
}  # fmt: skip
DICOM = 'multipart/related; type="application/dicom"'
PIXELS = (np.add.outer(np.arange(24), np.arange(32)) * 37 % 4096).astype("<u2")


@pytest.fixture
def served(tmp_path):
    return Served(tmp_path)


def ct(count: int = 1, number: int = 1, **attributes: object) -> bytes:
    """An instance of 12-bit frames, each turned a little further."""
    frames = [np.roll(PIXELS, number, axis=1) for number in range(count)]
    described = {"Rows": 24, "Columns": 32, "BitsStored": 12, "HighBit": 11}
    if count > 1:
        described["NumberOfFrames"] = count
    return dicoms.ct(number, **described, **attributes, PixelData=b"".join(frame.tobytes() for frame in frames))


def colour(**attributes: object) -> tuple[bytes, np.ndarray]:
    pixels = np.stack([PIXELS >> 4, PIXELS >> 5, 255 - (PIXELS >> 4)], -1).astype("u1")
    described = {
        "Rows": 24, "Columns": 32, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0,
        "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": pixels.tobytes(),
    }  # fmt: skip
    return dicoms.ct(2, **described, **attributes), pixels


def read(data: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def pixel_array(ds: pydicom.Dataset) -> np.ndarray:
    """Decode with pydicom, or plainly with the codec where pydicom has none installed."""
    codec = {JPEG_LOSSLESS: imagecodecs.ljpeg_decode, JPEG_LS: imagecodecs.jpegls_decode}.get(
        ds.file_meta.TransferSyntaxUID
    )
    if codec is None:
        return pydicom_pixels(ds)
    count = int(ds.get("NumberOfFrames", 1))
    frames = [codec(frame) for frame in generate_frames(ds.PixelData, number_of_frames=count)]
    return np.stack(frames) if count > 1 else frames[0]


def encoded(pixels: np.ndarray, syntax: str) -> bytes:
    format = Format(pixels.shape[0], pixels.shape[1], stored=12, high=11)
    return transcode(pixels.tobytes(), EXPLICIT, format, syntax)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_frame_leaves_in_the_syntax_asked_for_and_has_lost_nothing(served, syntax):
    data = ct(3)
    served.store(data)
    accept = f'multipart/related; type="{TYPES[syntax]}"; transfer-syntax={syntax}'
    answer = served.get(f"{path_of(data)}/frames/2", accept)
    (part,) = parts(answer)
    assert part.headers["content-type"] == f"{TYPES[syntax]}; transfer-syntax={syntax}"
    assert answer.headers["content-length"] == str(len(answer.content))
    again = compressed([part.data], syntax, Rows=24, Columns=32, BitsStored=12, HighBit=11)
    assert np.array_equal(pixel_array(read(again)), np.roll(PIXELS, 1, axis=1))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_a_whole_instance_leaves_in_the_syntax_asked_for(served, syntax):
    data = ct(3, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    served.store(data)
    answer = served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}")
    assert answer.headers["content-type"] == f"application/dicom; transfer-syntax={syntax}"
    made, stored = read(answer.content), read(data)
    assert made.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(pixel_array(made), pixel_array(stored))
    del made.PixelData, stored.PixelData
    assert made == stored


@pytest.mark.parametrize("syntax", [RLE, JPEG_LOSSLESS, JPEG_LS, JPEG_2000, HTJ2K])
@pytest.mark.parametrize("accept", [DICOM, "application/dicom", f"{DICOM}; transfer-syntax={EXPLICIT}", "*/*"])
def test_a_compressed_instance_leaves_decoded_where_nothing_else_is_asked_for(served, syntax, accept):
    data = compressed([encoded(PIXELS, syntax)], syntax, Rows=24, Columns=32, BitsStored=12, HighBit=11)
    served.store(data)
    answer = served.get(path_of(data), accept)
    body = answer.content if accept == "application/dicom" else parts(answer)[0].data
    made = read(body)
    assert made.file_meta.TransferSyntaxUID == EXPLICIT
    assert made.PixelData == PIXELS.tobytes()
    assert made["PixelData"].VR == "OW"
    assert len(body) == int((answer if body is answer.content else parts(answer)[0]).headers["content-length"])


def test_pixel_data_of_a_compressed_instance_come_decoded_as_one_value(served):
    frames = [np.roll(PIXELS, number, axis=1) for number in range(3)]
    data = compressed([encoded(frame, RLE) for frame in frames], RLE, Rows=24, Columns=32, BitsStored=12, HighBit=11)
    served.store(data)
    answer = served.get(f"{path_of(data)}/pixeldata", "application/octet-stream")
    assert answer.content == b"".join(frame.tobytes() for frame in frames)
    (part,) = parts(
        served.get(f"{path_of(data)}/bulkdata/7FE00010", 'multipart/related; type="application/octet-stream"')
    )
    assert part.data == answer.content
    coded = parts(served.get(f"{path_of(data)}/pixeldata", 'multipart/related; type="image/jls"'))
    assert [part.headers["content-type"] for part in coded] == [f"image/jls; transfer-syntax={JPEG_LS}"] * 3


def test_frames_of_one_bit_that_end_inside_of_a_byte_join_without_gaps(served):
    bits = np.arange(5 * 3 * 3).reshape(5, 3, 3) % 3 == 0
    packed = [np.packbits(frame.reshape(-1), bitorder="little").tobytes() for frame in bits]
    deflated = [
        transcode(frame, EXPLICIT, Format(3, 3, allocated=1, stored=1, high=0), "1.2.840.10008.1.2.8.1")
        for frame in packed
    ]
    data = compressed(deflated, "1.2.840.10008.1.2.8.1", Rows=3, Columns=3, BitsAllocated=1, BitsStored=1, HighBit=0)
    served.store(data)
    joined = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    assert served.get(f"{path_of(data)}/pixeldata", "application/octet-stream").content == joined
    made = read(served.get(path_of(data), "application/dicom").content)
    assert made.PixelData == joined
    assert np.array_equal(pixel_array(made), bits)


def test_what_loses_something_is_another_image_that_names_its_source(served):
    data, pixels = colour(ImageType=["ORIGINAL", "PRIMARY", "", "0001"], DerivationDescription="Sharpened")
    served.store(data)
    ask = f"application/dicom; transfer-syntax={JPEG}"
    answer = served.get(path_of(data), ask)
    made, stored = read(answer.content), read(data)
    assert made.SOPInstanceUID != stored.SOPInstanceUID
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert made.SOPInstanceUID.is_valid
    assert made.ImageType == ["DERIVED", "PRIMARY", "", "0001"]
    assert made.DerivationDescription == "Sharpened; Lossy compression by Roentgate: JPEG Baseline (Process 1)"
    assert [code.CodeValue for code in made.DerivationCodeSequence] == ["113040"]
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert made.LossyImageCompressionRatio > 1
    (source,) = made.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == stored.SOPInstanceUID
    assert made.PhotometricInterpretation == "YBR_FULL_422"
    assert np.abs(pydicom_pixels(made).astype(int) - pixels).mean() < 8
    assert served.get(path_of(data), ask).content == answer.content, "the same request gives the same image"
    (metadata,) = served.get(f"{path_of(data)}/metadata", f"application/dicom+json; transfer-syntax={JPEG}").json()
    assert metadata["00282112"]["Value"] == [float(made.LossyImageCompressionRatio)]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_each_frame_of_what_lost_something_is_derived(served, syntax):
    def group(*types):
        return {"MRImageFrameTypeSequence": with_items([{"FrameType": [*types], "PatientComments": "Größe"}])}

    data, _ = colour(
        SpecificCharacterSet="ISO_IR 100",
        SharedFunctionalGroupsSequence=with_items([group("ORIGINAL", "PRIMARY", "M")]),
        PerFrameFunctionalGroupsSequence=with_items([group("ORIGINAL"), group("ORIGINAL", "", "A", "NONE")]),
    )
    data = written(read(data), syntax)
    served.store(data)
    made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={JPEG}").content)
    described = pydicom.Dataset.from_json(
        served.get(f"{path_of(data)}/metadata", f"application/dicom+json; transfer-syntax={JPEG}").json()[0],
        lambda uri: b"",
    )
    for one in (made, described):
        groups = [*one.SharedFunctionalGroupsSequence, *one.PerFrameFunctionalGroupsSequence]
        items = [item.MRImageFrameTypeSequence[0] for item in groups]
        assert [item.FrameType for item in items] == [
            ["DERIVED", "PRIMARY", "M"], "DERIVED", ["DERIVED", "", "A", "NONE"]
        ]  # fmt: skip
        assert {item.PatientComments for item in items} == {"Größe"}
    stored = read(served.get(path_of(data), f"application/dicom; transfer-syntax={EXPLICIT}").content)
    assert stored.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0].FrameType[0] == "ORIGINAL"


def test_what_is_derived_of_an_enhanced_image_lists_its_source_among_its_references(served):
    series = with_items([{"SeriesInstanceUID": f"{dicoms.PREFIX}.1.1"}, {"SeriesInstanceUID": f"{dicoms.PREFIX}.1.7"}])
    for number, item in enumerate(series):
        item.ReferencedInstanceSequence = with_items([{"ReferencedSOPInstanceUID": f"{dicoms.PREFIX}.9.{number}"}])
    data, _ = colour(
        SharedFunctionalGroupsSequence=with_items([{}]), NumberOfFrames=1, ReferencedSeriesSequence=series
    )  # fmt: skip
    served.store(data)
    made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={JPEG}").content)
    other, own = made.ReferencedSeriesSequence
    assert other == series[1]
    assert own.SeriesInstanceUID == made.SeriesInstanceUID
    named = [item.ReferencedSOPInstanceUID for item in own.ReferencedInstanceSequence]
    assert named == [f"{dicoms.PREFIX}.9.0", read(data).SOPInstanceUID]


@pytest.mark.parametrize("syntax", [EXPLICIT, JPEG, HTJ2K, "1.2.840.10008.1.2.4.100"])
def test_metadata_describe_the_instance_in_the_syntax_that_it_is_asked_for(served, syntax):
    native, pixels = colour()
    frame = transcode(pixels.tobytes(), EXPLICIT, Format(24, 32, 3, "RGB", 0, 8, 8, 7), JPEG)
    lossy = compressed(
        [frame], JPEG, 3, Rows=24, Columns=32, SamplesPerPixel=3, PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
        HighBit=7, PhotometricInterpretation="YBR_FULL_422",
    )  # fmt: skip
    for data in (native, lossy):
        served.store(data)
        (told,) = served.get(f"{path_of(data)}/metadata", f"application/dicom+json; transfer-syntax={syntax}").json()
        answer = served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}")
        made = read(answer.content if answer.status_code == 200 else data)
        for tag in ("00080018", "00280002", "00280004", "00280006", "00280100", "00280101", "00282110"):
            value = made.get(int(tag, 16))
            assert (told.get(tag) or {}).get("Value") == ([value.value] if value is not None else None), tag
        assert told["00083002"]["Value"] == [made.file_meta.TransferSyntaxUID]
        assert told["7FE00010"]["BulkDataURI"].startswith("http://")
        (document,) = parts(
            served.get(
                f"{path_of(data)}/metadata",
                f'multipart/related; type="application/dicom+xml"; transfer-syntax={syntax}',
            )
        )
        assert f">{made.PhotometricInterpretation}<" in document.data.decode()


def test_pixels_that_came_lossy_say_so_for_ever(served):
    _, pixels = colour()
    frame = transcode(pixels.tobytes(), EXPLICIT, Format(24, 32, 3, "RGB", 0, 8, 8, 7), JPEG)
    stored = compressed(
        [frame], JPEG, Rows=24, Columns=32, SamplesPerPixel=3, PlanarConfiguration=0, BitsAllocated=8, BitsStored=8,
        HighBit=7, PhotometricInterpretation="YBR_FULL_422",
    )  # fmt: skip
    served.store(stored)
    kept = parts(served.get(path_of(stored), DICOM))[0]
    assert kept.data == stored, "pixels that exist only lossy go out as stored"
    made = read(served.get(path_of(stored), f"application/dicom; transfer-syntax={EXPLICIT}").content)
    assert (made.PhotometricInterpretation, made.PlanarConfiguration) == ("RGB", 0)
    assert (made.LossyImageCompression, made.SOPInstanceUID) == ("01", read(stored).SOPInstanceUID)
    assert np.abs(np.frombuffer(made.PixelData, "u1").reshape(24, 32, 3).astype(int) - pixels).mean() < 8


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("syntax", [JPEG_2000, RLE])
def test_an_overlay_in_unused_bits_leaves_the_samples_where_they_are_compressed(served, count, syntax):
    bits = np.random.default_rng(4).integers(0, 2, (count, 24, 31))
    pixels = np.stack([PIXELS[:, :31]] * count)
    ds = read(
        dicoms.ct(
            Rows=24, Columns=31, BitsStored=12, HighBit=11, NumberOfFrames=count,
            PixelData=(pixels | bits << 13).astype("<u2").tobytes(),
        )
    )  # fmt: skip
    for element, vr, value in (
        (0x10, "US", 24), (0x11, "US", 31), (0x40, "CS", "G"), (0x50, "SS", [1, 1]), (0x100, "US", 16),
        (0x102, "US", 13),
    ):  # fmt: skip
        ds.add_new(0x60000000 + element, vr, value)
    data = dicoms.part10(ds)
    served.store(data)
    made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}").content)
    if syntax == RLE:
        assert made[0x60000102].value == 13
        made.BitsStored, made.HighBit = 16, 15
        assert np.array_equal(pixel_array(made).reshape(bits.shape) >> 13 & 1, bits)
        return
    assert np.array_equal(pixel_array(made).reshape(bits.shape), pixels)
    assert (made[0x60000100].value, made[0x60000102].value) == (1, 0)
    lifted = np.unpackbits(np.frombuffer(made[0x60003000].value, "u1"), bitorder="little")[: bits.size]
    assert np.array_equal(lifted.reshape(bits.shape), bits)
    assert (0x60000015 in made) == (count > 1)
    shown = read(served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}").content).overlay_array(
        0x6000
    )
    assert np.array_equal(shown.reshape(bits.shape), bits)


def test_offset_tables_go_with_the_frames_that_they_were_of(served):
    frames = [encoded(PIXELS, RLE), encoded(PIXELS + 1, RLE)]
    data = compressed(
        frames, RLE, Rows=24, Columns=32, BitsStored=12, HighBit=11,
        ExtendedOffsetTable=np.array([0, 8 + len(frames[0])], "<u8").tobytes(),
        ExtendedOffsetTableLengths=np.array([len(frame) for frame in frames], "<u8").tobytes(),
    )  # fmt: skip
    served.store(data)
    for syntax in (EXPLICIT, JPEG_LS):
        made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}").content)
        assert "ExtendedOffsetTable" not in made
        assert "ExtendedOffsetTableLengths" not in made
        assert np.array_equal(pixel_array(made)[1], PIXELS + 1)


def test_large_frames_in_many_fragments_are_transcoded_and_what_lies_behind_them_is_kept(served):
    """More than what is read of an object to describe it: the fragments of pixels and of an icon."""
    pixels = np.random.default_rng(3).integers(0, 4096, (3, 250, 256)).astype("<u2")
    frames = [encoded(frame, RLE) for frame in pixels]
    icon = encapsulate([frames[0]], fragments_per_frame=3)
    ds = read(compressed(frames, RLE, Rows=250, Columns=256, BitsStored=12, HighBit=11))
    ds.IconImageSequence = with_items([{"Rows": 250, "Columns": 256, "PixelData": icon}])
    ds.IconImageSequence[0]["PixelData"].VR = "OB"
    ds.IconImageSequence[0]["PixelData"].is_undefined_length = True
    ds.DataSetTrailingPadding = bytes(10)
    ds.add_new(0x7FE10010, "LO", "behind the pixels")
    data = written(ds, RLE)
    served.store(data)
    for syntax in (EXPLICIT, HTJ2K):
        made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={syntax}").content)
        assert np.array_equal(pixel_array(made), pixels)
        assert made.IconImageSequence[0].PixelData == icon
        assert made[0x7FE10010].value == "behind the pixels"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"])
def test_whatever_the_encoding_of_the_data_set_pixels_can_be_compressed(served, syntax):
    import served as helpers

    pixels = PIXELS.byteswap() if syntax.endswith(".2.2") else PIXELS
    ds = dicoms.dataset(Rows=24, Columns=32, BitsStored=12, HighBit=11, PixelData=pixels.tobytes())
    ds["PixelData"].VR = "OW"
    data = helpers.written(ds, syntax)
    served.store(data)
    made = read(served.get(path_of(data), f"application/dicom; transfer-syntax={HTJ2K}").content)
    assert np.array_equal(pixel_array(made), PIXELS)
    assert made.PatientName == ds.PatientName


def test_an_instance_of_many_frames_is_sent_while_they_are_made(served):
    data = ct(40)
    served.store(data)
    answer = served.get(path_of(data), f"application/dicom; transfer-syntax={JPEG_LS}")
    assert "content-length" not in answer.headers
    made = read(answer.content)
    assert np.array_equal(pixel_array(made), pixel_array(read(data)))
    zipped = served.get(path_of(data), f"application/zip; transfer-syntax={JPEG_LS}")
    import zipfile

    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        (name,) = archive.namelist()
        assert archive.testzip() is None
        assert archive.read(name) == answer.content


def test_many_frames_in_one_request_are_sent_while_they_are_made(served):
    data = ct(40)
    served.store(data)
    numbers = [*range(40, 0, -1)]
    accept = f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}'
    found = parts(served.get(f"{path_of(data)}/frames/{','.join(map(str, numbers))}", accept))
    assert [part.data for part in found] == [
        parts(served.get(f"{path_of(data)}/frames/{number}", accept))[0].data for number in numbers
    ]


def test_a_study_of_all_kinds_leaves_in_one_syntax_as_far_as_it_can(served):
    image, damaged = ct(1, 1), compressed([b"\xff\x4f\xff\x51 no codestream"], JPEG_2000, 2)
    served.store(image, damaged)
    study = path_of(image).partition("/series/")[0]
    found = {read(part.data).SOPInstanceUID: part for part in parts(served.get(study, DICOM))}
    first, second = (found[read(data).SOPInstanceUID] for data in (image, damaged))
    assert first.headers["content-type"].endswith(EXPLICIT)
    assert second.headers["content-type"].endswith(JPEG_2000)
    assert second.data == damaged


def test_parts_of_a_made_frame_can_be_asked_for(served):
    data = ct()
    served.store(data)
    accept = f"image/jphc; transfer-syntax={RPCL}"
    whole = served.get(f"{path_of(data)}/frames/1", accept)
    first = served.get(f"{path_of(data)}/frames/1", accept, range="bytes=0-99")
    rest = served.get(f"{path_of(data)}/frames/1", accept, range="bytes=100-", if_range=whole.headers["etag"])
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole.content
    assert served.get(f"{path_of(data)}/frames/1", accept, if_none_match=whole.headers["etag"]).status_code == 304


@pytest.mark.parametrize("resource", ["", "/frames/1", "/pixeldata", "/metadata", "/wado"])
def test_what_is_made_another_way_has_another_tag(served, monkeypatch, resource):
    from dicomweb.archive import making

    data = ct()
    served.store(data)
    ds = read(data)
    kind = {"": "application/dicom", "/metadata": "application/dicom+json"}.get(resource, "image/jls")
    uids = f"studyUID={ds.StudyInstanceUID}&seriesUID={ds.SeriesInstanceUID}&objectUID={ds.SOPInstanceUID}"
    uri = f"/wado?requestType=WADO&{uids}&contentType=application/dicom&transferSyntax={JPEG_LS}"

    def tag() -> str:
        accept = f"{kind}; transfer-syntax={JPEG_LS}"
        answer = served.client.get(uri) if resource == "/wado" else served.get(f"{path_of(data)}{resource}", accept)
        assert answer.status_code == 200
        return answer.headers["etag"]

    before = tag()
    assert tag() == before
    monkeypatch.setattr(making, "REVISION", making.REVISION + 1)
    assert tag() != before


def test_the_first_part_of_a_frame_made_as_rpcl_is_a_coarse_picture(served):
    row, column = np.mgrid[:512, :512]
    waves = 1000 + 500 * np.sin(row / 40) * np.cos(column / 60)
    pixels = (waves + np.random.default_rng(5).integers(0, 20, waves.shape)).astype("<u2")
    data = dicoms.ct(Rows=512, Columns=512, BitsStored=12, HighBit=11, PixelData=pixels.tobytes())
    served.store(data)
    url, accept = f"{path_of(data)}/frames/1", f"image/jphc; transfer-syntax={RPCL}"
    whole = served.get(url, accept)
    first = served.get(url, accept, range=f"bytes=0-{len(whole.content) // 4 - 1}")
    rest = served.get(url, accept, range=f"bytes={len(first.content)}-", if_range=first.headers["etag"])
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.content + rest.content == whole.content
    assert np.array_equal(imagecodecs.htj2k_decode(whole.content), pixels)
    coarse = imagecodecs.htj2k_decode(first.content, resilient=True)
    assert 0 < np.abs(coarse.astype(int) - pixels).mean() < 10


def test_a_hundred_viewers_of_one_frame_cost_one_computation(served, monkeypatch):
    data = ct()
    served.store(data)
    run, times = Workshop.run, itertools.count()
    monkeypatch.setattr(Workshop, "run", lambda self, *work: (next(times), run(self, *work))[1])
    accept = f'multipart/related; type="image/jls"; transfer-syntax={JPEG_LS}'
    with ThreadPoolExecutor(20) as pool:
        answers = [*pool.map(lambda _: served.get(f"{path_of(data)}/frames/1", accept).content, range(100))]
    assert len(set(answers)) == 1
    assert next(times) == 1


def test_a_frame_that_is_larger_than_the_limit_is_refused_and_is_there_as_stored(tmp_path):
    served = Served(tmp_path, limit_frame_pixels=500)
    frame = encoded(PIXELS, RLE)
    data = compressed([frame], RLE, Rows=24, Columns=32, BitsStored=12, HighBit=11)
    served.store(data)
    refused = served.get(f"{path_of(data)}/frames/1", "application/octet-stream")
    assert refused.status_code == 406
    assert RLE in refused.json()["detail"]
    (part,) = parts(served.get(f"{path_of(data)}/frames/1"))
    assert part.data == frame


LARGE = np.add.outer(np.arange(1024), np.arange(1024)).astype("<u2")
IN_FILES = {
    "native": (ct(3), True),
    "large": (dicoms.ct(Rows=1024, Columns=1024, BitsStored=12, HighBit=11, PixelData=LARGE.tobytes()), True),
    "big endian": (written(dicoms.dataset(PixelData=bytes(range(128))), BIG_ENDIAN), False),
    "lossless JPEG": (compressed([imagecodecs.ljpeg_encode(PIXELS)], JPEG_LOSSLESS, Rows=24, Columns=32), True),
}


@pytest.mark.parametrize("name", IN_FILES)
def test_a_frame_in_a_file_is_read_by_who_works_on_it_and_comes_out_the_same(tmp_path, monkeypatch, name):
    data, whole = IN_FILES[name]
    asked = {
        f"{path_of(data)}/frames/1": f"image/jls; transfer-syntax={JPEG_LS}",
        f"{path_of(data)}/rendered?annotation=patient": "image/png",
    }
    run, lent = Workshop.run, []

    def running(self: Workshop, *work: object) -> bytes:
        lent.append(any(isinstance(argument, Lent) for argument in work))
        return run(self, *work)

    monkeypatch.setattr(Workshop, "run", running)
    answers = []
    for place in ("memory:", f"file:{tmp_path}/objects"):
        served = Served(tmp_path / place.partition(":")[0], storage=place)
        served.store(data)
        answers += [served.get(path, accept) for path, accept in asked.items()]
        served.archive.close()
    assert [answer.status_code for answer in answers] == [200] * 4
    assert [answer.content for answer in answers[:2]] == [answer.content for answer in answers[2:]]
    assert lent == [False, False, whole, whole]
