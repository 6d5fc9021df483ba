"""Objects that came without what makes a data set a file: they leave as files all the same (PS3.10 7.1)."""

import io
from pathlib import Path

import dicoms
import pydicom
import pytest
from served import Served, parts

from dicomweb.archive.versions import is_bare

INSTANCE = f"/dicom-web/studies/{dicoms.PREFIX}.1/series/{dicoms.PREFIX}.1.1/instances/{dicoms.PREFIX}.1.1.1"
FILE = dicoms.ct(1)
META_END = 132 + 12 + int.from_bytes(FILE[140:144], "little")


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path)


@pytest.mark.parametrize("start", [META_END, 132], ids=["no File Meta group", "no preamble"])
@pytest.mark.parametrize("syntax", ["", "; transfer-syntax=*", "; transfer-syntax=1.2.840.10008.1.2.1"])
def test_an_object_stored_without_them_leaves_with_preamble_and_file_meta(
    served: Served, start: int, syntax: str
) -> None:
    served.store(FILE[start:])
    single = served.client.get(INSTANCE, headers={"accept": f"application/dicom{syntax}"})
    assert single.status_code == 200, single.text
    assert int(single.headers["content-length"]) == len(single.content)
    ds = pydicom.dcmread(io.BytesIO(single.content))
    assert ds == pydicom.dcmread(io.BytesIO(FILE))
    assert ds.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    several = served.client.get(INSTANCE, headers={"accept": f'multipart/related; type="application/dicom"{syntax}'})
    (part,) = parts(several)
    assert part.data == single.content


def test_the_received_bytes_are_kept_and_survive_a_rebuild(served: Served) -> None:
    served.store(FILE[META_END:], dicoms.ct(2))
    before = served.client.get(f"{INSTANCE}/metadata").content
    bare, file = served.archive.index.walk()
    assert (is_bare(bare.key), is_bare(file.key)) == (True, False)
    assert served.archive.storage.read(bare.key) == FILE[META_END:]
    assert [finding for _, finding in served.archive.verify() if finding] == []
    assert [finding for _, finding in served.archive.rebuild() if finding] == []
    assert served.archive.index.walk() == [bare, file]
    assert served.client.get(f"{INSTANCE}/metadata").content == before
