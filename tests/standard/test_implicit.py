"""Explicit VR as Implicit VR: every value stays, wherever the input is cut."""

import io

import dicoms
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian
from realdata import needs_real_files, real_files
from served import compressed, with_items

from dicomweb.errors import BadObject, TruncatedObject
from dicomweb.standard.implicit import write_implicit
from dicomweb.standard.syntaxes import JPEG_LS


def body(data: bytes) -> bytes:
    meta = pydicom.dcmread(io.BytesIO(data)).file_meta
    return data[data.index(b"DICM") + 16 + meta.FileMetaInformationGroupLength :]


def read(data: bytes) -> Dataset:
    return read_dataset(io.BytesIO(data), True, True)


def rich(undefined: bool) -> bytes:
    ds = dicoms.dataset(1)
    ds.RequestAttributesSequence = with_items([{"ScheduledProcedureStepID": "S1"}, {"RequestedProcedureID": "R" * 15}])
    ds.RequestAttributesSequence[0].ScheduledProtocolCodeSequence = with_items([{"CodeValue": "1", "CodeMeaning": "x"}])
    ds.ProcedureCodeSequence = []
    if undefined:
        ds["RequestAttributesSequence"].is_undefined_length = True
        for item in ds.RequestAttributesSequence:
            item.is_undefined_length_sequence_item = True
    ds.add_new(0x00091001, "UN", b"private.")
    ds.add_new(0x00091002, "OB", bytes(200_000))
    return body(dicoms.part10(ds))


@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100, 1 << 20])
def test_every_value_stays_wherever_the_input_is_cut(undefined, size):
    data = rich(undefined)
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    again = read(b"".join(bytes(piece) for piece in write_implicit(pieces)))
    original = read_dataset(io.BytesIO(data), False, True)
    assert [e.tag for e in again] == [e.tag for e in original]
    assert again.RequestAttributesSequence == original.RequestAttributesSequence
    assert again.PixelData == original.PixelData
    assert again[0x00091002].value == bytes(200_000)


def test_encapsulated_pixels_are_refused():
    with pytest.raises(BadObject, match="encapsulated"):
        list(write_implicit([body(compressed([b"\xff\xd8\xff\xd9"], JPEG_LS))]))


@pytest.mark.parametrize("cut", [1, 5, 9, 40, 200])
def test_a_data_set_that_ends_inside_an_element_is_refused(cut):
    with pytest.raises(TruncatedObject):
        list(write_implicit([rich(False)[:-cut]]))


@needs_real_files
def test_real_files_keep_every_value():
    tried = 0
    for path in real_files()[::10]:
        try:
            ds = pydicom.dcmread(path)
            if ds.file_meta.TransferSyntaxUID != ExplicitVRLittleEndian or path.stat().st_size > 1 << 21:
                continue
            data = body(path.read_bytes())
        except Exception:
            continue
        try:
            again = b"".join(bytes(piece) for piece in write_implicit([data]))
        except BadObject:
            continue
        left = [element.tag for element in read_dataset(io.BytesIO(data), False, True) if element.tag.element]
        assert [element.tag for element in read(again)] == left, path
        tried += 1
    assert tried > 5
