import io
import zipfile

import pytest

from dicomweb.archive.zipped import Entry, size_of, write


def made(*files: tuple[str, list[bytes]]) -> list[Entry]:
    return [Entry(name, sum(map(len, pieces)), lambda pieces=pieces: pieces) for name, pieces in files]


def test_an_archive_is_read_back_by_the_standard_library():
    entries = made(("a/b/1.dcm", [b"one", b"two"]), ("a/b/2.dcm", []), ("c.dcm", [bytes(70_000)]))
    data = b"".join(write(entries))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["a/b/1.dcm", "a/b/2.dcm", "c.dcm"]
        assert archive.read("a/b/1.dcm") == b"onetwo"
        assert archive.read("c.dcm") == bytes(70_000)
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


@pytest.mark.parametrize("count", [0, 1, 3, 65_534, 65_535, 70_000])
def test_the_size_is_known_before_anything_is_read(count):
    entries = made(*((f"{number}.dcm", [b"x"]) for number in range(count)))
    data = b"".join(write(entries))
    assert size_of(entries) == len(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count


def test_entries_and_archives_beyond_four_gigabytes_use_zip64():
    mega = bytes(1 << 20)
    entries = [
        Entry("big.dcm", 4097 << 20, lambda: (mega for _ in range(4097))),
        Entry("after.dcm", 5, lambda: [b"after"]),
    ]
    size, tail = 0, b""
    for piece in write(entries):
        size += len(piece)
        tail = (tail + piece)[-4000:] if len(piece) < 4000 else piece[-4000:]
    assert size == size_of(entries)

    class Holed(io.RawIOBase):
        """The archive as far as its directory is concerned: only the tail has bytes."""

        place = 0

        def seekable(self) -> bool:
            return True

        def seek(self, offset: int, whence: int = 0) -> int:
            self.place = offset + (0, self.place, size)[whence]
            return self.place

        def tell(self) -> int:
            return self.place

        def read(self, count: int = -1) -> bytes:
            start = self.place - (size - len(tail))
            assert start >= 0
            data = tail[start:] if count < 0 else tail[start : start + count]
            self.place += len(data)
            return data

    with zipfile.ZipFile(Holed()) as archive:
        big, after = archive.infolist()
        assert big.file_size == 4097 << 20
        assert after.header_offset > 4 << 30


def test_an_entry_that_yields_less_than_it_said_breaks_off():
    with pytest.raises(ValueError, match="another size"):
        list(write([Entry("a", 5, lambda: [b"four"])]))
