"""Every real file goes in by STOW-RS and by import, with the outcome that a table states with its reason, and
comes out: metadata, frames, bulk data and bytes, compared with what pydicom reads from the file.

Files that repeat a SOP Instance UID are given an archive of their own.
"""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from realdata import FOLDER, needs_real_files, real_files
from served import BASE, Served, parts

from dicomweb.archive import exporting, importing
from dicomweb.archive.archive import open_archive
from dicomweb.archive.sources import Bounds
from dicomweb.archive.versions import is_bare
from dicomweb.config import Config
from dicomweb.index import Held
from dicomweb.standard import nativexml, outcomes
from dicomweb.standard.multipart import write, write_type
from dicomweb.standard.syntaxes import EXPLICIT, syntax_of

# pydicom warns of what is wrong with some of the files.
pytestmark = [needs_real_files, pytest.mark.filterwarnings("ignore::UserWarning")]

DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
OCTETS = "multipart/related; type=application/octet-stream; transfer-syntax=*"
STORED = f'{OCTETS}, multipart/related; type="*/*"; transfer-syntax=*; q=0.9'
XML = 'multipart/related; type="application/dicom+xml"'


class Expected(NamedTuple):
    """What becomes of a file that is not plainly stored: "stored" with a warning, or "failed" with a reason."""

    state: str
    code: int
    why: str


META = "the File Meta group names another object than the data set, which wins"
PART10 = "a data set without preamble and File Meta group, which is read all the same"
NO_SERIES = "the Series Instance UID, which every object must have, is missing"
NO_STUDY = "the Study Instance UID, which every object must have, is missing"
NO_PIXELS = "its pixels are described, and were taken out"

OUTCOMES: dict[str, Expected] = {
    # -- stored, with a warning
    "built/knee-bad-vr.dcm": Expected("stored", 0xB007, "an element has a VR that does not exist"),
    "dicom-test-files/pydicom__OT-PAL-8-face.dcm": Expected("stored", 0xB007, PART10),
    "orthanc-tests/PrivateMDNTags.dcm": Expected("stored", 0xB007, PART10),
    "pydicom/pydicom__ExplVR_LitEndNoMeta.dcm": Expected("stored", 0xB007, PART10),
    "fo-dicom/CR-ModalitySequenceLUT.dcm": Expected("stored", 0xB007, f"a UID with leading zeros; {META}"),
    "fo-dicom.Codecs/Acceptance__PM5644-960x540_JPEG2000-Lossless.dcm": Expected("stored", 0xB007, META),
    "highdicom/sm_image_dots.dcm": Expected("stored", 0xB007, META),
    "highdicom/sm_image_grayscale.dcm": Expected("stored", 0xB007, META),
    "highdicom/sm_image_grayscale_reversed.dcm": Expected("stored", 0xB007, META),
    "pylibjpeg-data/ds__JPEG2000__ELSCINT1_JP2vsJ2K.dcm": Expected("stored", 0xB007, META),
    "pylibjpeg-data/ds__JPEGLossless__JPEGLossless_1s_1f_i_16_16_bad.dcm": Expected("stored", 0xB007, META),
    "pydicom/pydicom__charset_files__chrJapMulti.dcm": Expected("stored", 0xB007, f"{META}; {NO_PIXELS}"),
    "pydicom/pydicom__charset_files__chrJapMultiExplicitIR6.dcm": Expected("stored", 0xB007, f"{META}; {NO_PIXELS}"),
    "pydicom/pydicom__charset_files__chrKoreanMulti.dcm": Expected("stored", 0xB007, NO_PIXELS),
    "orthanc-tests/Issue22-NoPixelData.dcm": Expected("stored", 0xB007, NO_PIXELS),
    "orthanc-tests/Issue168.dcm": Expected("stored", 0xB007, "text is not in the character set that it names"),
    "pacs_system/integration_tests__test_data__xa_minimal.dcm": Expected(
        "stored", 0xB007, "integers with a fraction, and text that is not in the character set that it names"
    ),
    # -- refused: no identity
    "built/knee-no-sop-instance-uid.dcm": Expected("failed", 0xA900, "the SOP Instance UID was taken out"),
    "built/knee-no-study-uid.dcm": Expected("failed", 0xA900, NO_STUDY),
    "built/knee-uid-70-chars.dcm": Expected("failed", 0xA900, "a UID is longer than 64 characters"),
    **{
        f"dwv/annotation__dwv034__sr-{shape}.dcm": Expected("failed", 0xA900, NO_SERIES)
        for shape in ("arrow", "circle", "ellipse", "protractor", "rectangle", "roi", "ruler")
    },
    "dwv/bbmri.dcmdir.dcm": Expected("failed", 0xA900, NO_STUDY),
    "dwv/leadtools-8BitsJpegLossyGrayScale.dcm": Expected("failed", 0xA900, NO_STUDY),
    "fo-dicom/GH487.dcm": Expected("failed", 0xA900, NO_STUDY),
    "pydicom/pydicom__SC_rgb_jls_lossy_line.dcm": Expected("failed", 0xA900, NO_STUDY),
    "pydicom/pydicom__palettes__fall.dcm": Expected("failed", 0xA900, NO_STUDY),
    "pydicom-data/HTJ2K_08_RGB.dcm": Expected("failed", 0xA900, NO_STUDY),
    # -- refused: not whole, or no object
    "built/knee-truncated-header.dcm": Expected("failed", 0xC000, "it ends inside of the header"),
    "built/knee-truncated-pixels.dcm": Expected("failed", 0xC000, "it ends inside of a fragment"),
    "dcm4che/dcm4che-test-data__3gb-bulk-data-truncated.dcm": Expected(
        "failed", 0xC000, "it ends inside of the pixels"
    ),
    "pydicom/pydicom__MR_truncated.dcm": Expected("failed", 0xC000, "it ends inside of the pixels"),
    "pydicom/pydicom__rtplan_truncated.dcm": Expected("failed", 0xC000, "it ends inside of a sequence"),
    "fo-dicom/GH364.dcm": Expected("failed", 0xC000, "an item stands where an element should; DCMTK refuses it too"),
    "orthanc-tests/PrivateMDNTags.dic.dcm": Expected("failed", 0xC000, "a text file: DCMTK's dictionary"),
}

# pydicom does not read GE's private big endian transfer syntax: its bytes alone are compared.
UNREAD = {"fo-dicom/GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm"}


@dataclass
class Shelf:
    """An archive of files of which no two have one SOP Instance UID."""

    served: Served
    files: list[Path] = field(default_factory=list)
    uids: set[str] = field(default_factory=set)


def name_of(file: Path) -> str:
    return file.relative_to(FOLDER).as_posix()


def uid_of(file: Path) -> str:
    if name_of(file) in UNREAD:
        return name_of(file)
    element = pydicom.dcmread(file, stop_before_pixels=True, force=True).get_item(0x00080018)
    value = element.value if element is not None else b""
    return (value.decode() if isinstance(value, bytes) else str(value)).rstrip("\0 ")


def expected(file: Path) -> tuple[str, int | None]:
    row = OUTCOMES.get(name_of(file))
    return (row.state, row.code) if row else ("stored", None)


STORED_FILES = [file for file in real_files() if expected(file)[0] == "stored"]
READ_FILES = [file for file in STORED_FILES if name_of(file) not in UNREAD]


@pytest.fixture(scope="module")
def shelves(tmp_path_factory: pytest.TempPathFactory) -> list[Shelf]:
    """All files on as many shelves as it takes; nothing is stored yet."""
    made: list[Shelf] = []
    for file in real_files():
        uid = uid_of(file) if expected(file)[0] == "stored" else ""
        shelf = next((shelf for shelf in made if not uid or uid not in shelf.uids), None)
        if shelf is None:
            made.append(shelf := Shelf(Served(tmp_path_factory.mktemp("shelf"))))
        shelf.files.append(file)
        shelf.uids.add(uid)
    return made


@pytest.fixture(scope="module")
def answers(shelves: list[Shelf]) -> dict[Path, tuple[Served, int, list[outcomes.Outcome]]]:
    """Each file stored by a request of its own: its archive, the status, the outcomes."""
    given = {}
    for shelf in shelves:
        for file in shelf.files:
            response = shelf.served.client.post(
                "/dicom-web/studies", content=file.read_bytes(), headers={"content-type": "application/dicom"}
            )
            given[file] = (shelf.served, response.status_code, outcomes.read(response.json()))
    return given


def test_every_row_of_the_table_names_a_file():
    assert set(OUTCOMES) <= {name_of(file) for file in real_files()}


# -- going in --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("file", real_files(), ids=name_of)
def test_a_file_goes_in_by_stow_as_the_table_says(file: Path, answers):
    _, status, results = answers[file]
    (outcome,) = results
    code = outcome.reason if outcome.state == "failed" else outcome.warning
    assert (outcome.state, code) == expected(file)
    if outcome.state == "stored":
        assert status == (200 if outcome.warning is None else 202)
    else:
        assert status in {400, 409}


def test_all_files_of_a_shelf_go_in_by_one_request_and_none_spoils_another(shelves: list[Shelf], tmp_path: Path):
    for number, shelf in enumerate(shelves):
        served = Served(tmp_path / str(number))
        body = write("between", [("application/dicom", file.read_bytes()) for file in shelf.files])
        headers = {"content-type": write_type("between", "application/dicom")}
        response = served.client.post("/dicom-web/studies", content=body, headers=headers)
        plain = {file for file in shelf.files if expected(file)[0] == "stored"}
        assert response.status_code == (200 if all(expected(file) == ("stored", None) for file in shelf.files) else 202)
        assert served.archive.index.counts().instances == len(plain)
        states = [outcome.state for outcome in outcomes.read(response.json())]
        assert states.count("stored") == len(plain)
        assert states.count("failed") == len(shelf.files) - len(plain)
        assert not list(served.archive.spool.folder.glob("*"))


def test_every_file_goes_in_by_import_as_the_table_says_and_out_by_export(shelves: list[Shelf], tmp_path: Path):
    for number, shelf in enumerate(shelves):
        archive = open_archive(Config(data=tmp_path / str(number)))
        bounds = Bounds(most_bytes=1 << 30, most_ratio=200)
        steps = {step.name: step for step in importing.run(shelf.files, archive.spool, archive.store, bounds, 2)}
        for file in shelf.files:
            step = steps[str(file)]
            state, code = expected(file)
            if state == "stored":
                assert (step.state, step.warned) == ("stored", code is not None), name_of(file)
            elif file.name != "bbmri.dcmdir.dcm":
                assert step.state == "refused", name_of(file)
                assert step.reason
        helds = archive.index.walk()
        out = tmp_path / f"{number}-out"
        named = list(exporting.name_all(archive.index, helds))
        assert {step.state for step in exporting.to_folder(archive.storage, named, out)} == {"written"}
        went_in = sorted(file.read_bytes() for file in shelf.files if expected(file)[0] == "stored")
        assert sorted(path.read_bytes() for path in out.rglob("*.dcm")) == went_in
        archive.close()


# -- coming out ------------------------------------------------------------------------------------------
def found(answers: dict[Path, Any], file: Path) -> tuple[Served, Held]:
    """The archive that has a file, and its instance."""
    served, _, (outcome,) = answers[file]
    return served, served.archive.index.present([outcome.instance])[outcome.instance]


def path_of(held: Held) -> str:
    return f"/studies/{held.study}/series/{held.series}/instances/{held.instance}"


@pytest.mark.parametrize("file", STORED_FILES, ids=name_of)
def test_the_bytes_of_an_instance_come_out_as_they_went_in(file: Path, answers):
    served, held = found(answers, file)
    (part,) = parts(served.get(path_of(held), DICOM))
    syntax = syntax_of(held.syntax)
    if syntax.implicit or syntax.big_endian:
        sent = pydicom.dcmread(io.BytesIO(part.data))
        assert sent.file_meta.TransferSyntaxUID == EXPLICIT
        assert sent.SOPInstanceUID == held.instance
    elif is_bare(held.key):
        assert pydicom.dcmread(io.BytesIO(part.data)) == pydicom.dcmread(file, force=True)
        assert part.data.endswith(file.read_bytes())
    else:
        assert part.data == file.read_bytes()
    assert served.archive.storage.read(held.key) == file.read_bytes()


@pytest.fixture(scope="module")
def levels(answers) -> Callable[[Served, str], tuple[list[Any], list[bytes]]]:
    """Asks for the metadata of a series or study, each once, in JSON and XML."""

    @cache
    def ask(number: int, path: str) -> tuple[list[Any], list[bytes]]:
        served = numbered[number]
        models = served.get(f"{path}/metadata").json()
        return models, [part.data for part in parts(served.get(f"{path}/metadata", XML))]

    numbered = {id(served): served for served, _, _ in answers.values()}
    return lambda served, path: ask(id(served), path)


@pytest.mark.parametrize("file", READ_FILES, ids=name_of)
def test_metadata_come_out_at_all_levels_in_both_forms(file: Path, answers, levels):
    served, held = found(answers, file)
    path = path_of(held)
    (model,) = served.get(f"{path}/metadata").json()
    read = pydicom.dcmread(file, stop_before_pixels=False, force=True)
    computed = {"00083002"}  # Available Transfer Syntax UID, which the archive knows itself (PS3.18 10.4.1.1.2)
    stands = list(read.keys())
    tags = {
        f"{int(tag):08X}" for tag in stands if tag.element != 0 and tag.group not in {0x0000, 0x0002, 0xFFFC, 0xFFFE}
    }
    assert (set(model) | {"00080005"}) - computed == (tags | {"00080005"}) - computed
    assert list(model) == sorted(model)
    (part,) = parts(served.get(f"{path}/metadata", XML))
    assert nativexml.read(part.data) == writable(model)
    for level in (path.partition("/instances")[0], path.partition("/series")[0]):
        models, documents = levels(served, level)
        assert [one for one in models if one["00080018"]["Value"] == [held.instance]] == [model]
        assert documents.count(part.data) == 1


def writable(value: Any) -> Any:
    """The model without the control characters that XML has no place for (XML 1.0 2.2)."""
    if isinstance(value, str):
        return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", value)
    if isinstance(value, dict):
        return {key: writable(inner) for key, inner in value.items()}
    return [writable(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("file", READ_FILES, ids=name_of)
def test_frames_come_out_in_the_stored_syntax(file: Path, answers):
    served, held = found(answers, file)
    layout = served.layout(held)
    read = pydicom.dcmread(file, force=True)
    if "PixelData" not in read and "FloatPixelData" not in read and "DoubleFloatPixelData" not in read:
        assert layout.kind == "none"
        assert served.get(f"{path_of(held)}/frames/1", STORED).status_code == 404
        return
    if layout.kind in {"video", "opaque"}:
        assert served.get(f"{path_of(held)}/frames/1", STORED).status_code == 406
        return
    count = int(read.get("NumberOfFrames", 1) or 1)
    assert layout.count == count
    numbers = ",".join(str(number) for number in range(1, count + 1))
    got = [part.data for part in parts(served.get(f"{path_of(held)}/frames/{numbers}", STORED))]
    assert got == list(frames_of(read, count))


def frames_of(read: Dataset, count: int) -> Iterator[bytes]:
    """The frames as pydicom finds them, little endian."""
    element = read.get_item(0x7FE00010) or read.get_item(0x7FE00008) or read.get_item(0x7FE00009)
    value: bytes = element.value
    if element.length == 0xFFFFFFFF:
        yield from generate_frames(value, number_of_frames=count)
        return
    bits = read.Rows * read.Columns * read.get("SamplesPerPixel", 1)
    bits *= {0x7FE00008: 32, 0x7FE00009: 64}.get(int(element.tag)) or read.BitsAllocated
    if read.get("PhotometricInterpretation") == "YBR_FULL_422":
        bits = bits // 3 * 2
    value = swapped(value, element.VR) if not element.is_little_endian else value
    if bits % 8:
        packed = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
        for index in range(count):
            yield np.packbits(packed[index * bits : (index + 1) * bits], bitorder="little").tobytes()
    else:
        for index in range(count):
            yield value[index * bits // 8 : (index + 1) * bits // 8]


def swapped(value: bytes, vr: str | None) -> bytes:
    width = {"US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "OL": 4, "FL": 4, "OF": 4, "FD": 8, "OD": 8}.get(vr or "", 1)
    return np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes()


@pytest.mark.parametrize("file", READ_FILES, ids=name_of)
def test_every_bulk_data_uri_gives_the_value_in_the_file(file: Path, answers):
    served, held = found(answers, file)
    (model,) = served.get(f"{path_of(held)}/metadata").json()
    read = pydicom.dcmread(file, force=True)
    for uri, element in references(model, read):
        assert uri.startswith(f"{BASE}{path_of(held)}/bulkdata/")
        response = served.get(uri.removeprefix(BASE), f"{STORED}, */*;q=0.5")
        assert response.status_code == 200, uri
        sent = (
            b"".join(part.data for part in parts(response))
            if "multipart" in response.headers["content-type"]
            else response.content
        )
        value: bytes = element.value
        if element.length == 0xFFFFFFFF:
            value = b"".join(list(generate_fragments(value))[1:])
        elif not element.is_little_endian:
            value = swapped(value, element.VR)
        assert sent == value or (sent + b"\0" == value and "00420015" in model), uri


def references(model: dict[str, Any], read: Dataset) -> Iterator[tuple[str, Any]]:
    """Each BulkDataURI with pydicom's element as it stands in the file."""
    for tag, element in model.items():
        if "BulkDataURI" in element:
            yield element["BulkDataURI"], read.get_item(int(tag, 16))
        elif element["vr"] == "SQ" and element.get("Value"):
            for item, inner in zip(element["Value"], read[int(tag, 16)].value, strict=True):
                yield from references(item, inner)
