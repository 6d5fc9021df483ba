import gzip
import json
import os
import zlib

from hypothesis import given
from hypothesis import strategies as st

from dicomweb.archive import sealed
from dicomweb.archive.sealed import Sealer, array, gzipped, literal, plain, seal, unseal
from dicomweb.index import Held

TEXT = b'{"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]}}'


def held(number: int, series: str = "1.2") -> Held:
    return Held(number, f"k{number}", "1", series, f"1.2.{number}", "1.3", "1.2.840.10008.1.2.1", 100, b"")


class Texts:
    """The one question that a Sealer asks an index."""

    def __init__(self, size: int = 10) -> None:
        self.asked: list[int] = []
        self._filler = "x" * size

    def metadata(self, versions: list[int]) -> list[bytes]:
        self.asked += versions
        return [
            json.dumps({"n": number, "f": self._filler, "BulkDataURI": "bulkdata/1"}, separators=(",", ":")).encode()
            for number in versions
        ]


def url(one: Held) -> str:
    return f"http://h/{one.instance}"


def numbers(data: bytes) -> list[int]:
    return [entry["n"] for entry in json.loads(data)]


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_seals_put_together_are_one_gzip_member(texts):
    stream = b"".join(gzipped(seal([text[:5], text[5:]]) for text in texts))
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(stream) == b"".join(texts)
    assert inflate.eof
    assert inflate.unused_data == b""


def test_a_seal_gives_back_its_text():
    text = os.urandom(3_000_000)
    assert b"".join(unseal(seal([text]))) == text
    assert b"".join(unseal(literal(b"[,]"))) == b"[,]"


def test_an_empty_array_is_an_array():
    assert b"".join(plain(array([]))) == b"[]"
    assert gzip.decompress(b"".join(gzipped(array([])))) == b"[]"


def test_all_instances_are_there_in_order_with_absolute_uris():
    members = [held(number) for number in range(1000)] + [held(5000 + n, "1.3") for n in range(3)]
    sealer = Sealer(Texts(), 1 << 20)
    data = b"".join(plain(array(sealer.seals(members, url, "http://h"))))
    assert numbers(data) == [*range(1000), 5000, 5001, 5002]
    assert json.loads(data)[1001]["BulkDataURI"] == "http://h/1.2.5001/bulkdata/1"
    assert gzip.decompress(b"".join(gzipped(array(sealer.seals(members, url, "http://h"))))) == data


def test_a_second_reading_asks_the_index_for_nothing():
    index = Texts()
    sealer = Sealer(index, 1 << 20)
    members = [held(number) for number in range(300)]
    assert not sealer.ready(members, "b")
    first = list(sealer.seals(members, url, "b"))
    assert sealer.ready(members, "b")
    index.asked.clear()
    assert list(sealer.seals(members, url, "b")) == first
    assert index.asked == []


def test_a_series_that_grows_has_only_its_last_group_sealed_again():
    index = Texts()
    sealer = Sealer(index, 1 << 20)
    list(sealer.seals([held(number) for number in range(300)], url, "b"))
    index.asked.clear()
    list(sealer.seals([held(number) for number in range(301)], url, "b"))
    assert index.asked == list(range(256, 301))


def test_another_base_url_is_another_text():
    sealer = Sealer(Texts(), 1 << 20)
    one = b"".join(plain(sealer.seals([held(1)], url, "http://h")))
    other = b"".join(plain(sealer.seals([held(1)], lambda _: "https://o", "https://o")))
    assert b"http://h/" in one
    assert b"https://o/" in other


def test_large_metadata_is_fetched_a_few_instances_at_a_time():
    class Watched(Texts):
        most = 0

        def metadata(self, versions: list[int]) -> list[bytes]:
            texts = super().metadata(versions)
            self.most = max(self.most, sum(map(len, texts)) if len(self.asked) > 64 else 0)
            return texts

    index = Watched(1 << 20)
    members = [held(number) for number in range(100)]
    data = b"".join(plain(array(Sealer(index, 1 << 20).seals(members, url, "b"))))
    assert numbers(data) == list(range(100))
    assert index.most <= 2 * sealed._FETCH


def test_what_does_not_fit_is_not_kept():
    index = Texts(20_000)
    sealer = Sealer(index, 1000)
    list(sealer.seals([held(1)], url, "b"))
    list(sealer.seals([held(1)], url, "b"))
    assert index.asked == [1, 1]
