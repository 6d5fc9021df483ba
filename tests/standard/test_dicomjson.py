import json
import time

import models
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomweb.errors import BadRequest
from dicomweb.standard import dicomjson


def read_one(element: object, tag: str = "00081030") -> object:
    """What is read of one element, through the text of a whole array."""
    (dataset,) = dicomjson.read(json.dumps([{tag: element}]).encode())
    return dataset.get(tag)


# -- writing ------------------------------------------------------------------------------------------------


def test_tags_are_written_in_ascending_order_at_every_level():
    items = [{"00080060": {"vr": "CS"}, "00080005": {"vr": "CS"}}]
    text = dicomjson.write({"00100020": {"vr": "LO"}, "00081199": {"vr": "SQ", "Value": items}})
    assert text == (
        b'{"00081199":{"vr":"SQ","Value":[{"00080005":{"vr":"CS"},"00080060":{"vr":"CS"}}]},"00100020":{"vr":"LO"}}'
    )


def test_writing_leaves_the_model_as_it_is():
    dataset = {"00100020": {"vr": "LO"}, "00080060": {"vr": "CS"}}
    dicomjson.write(dataset)
    assert list(dataset) == ["00100020", "00080060"]


def test_what_json_cannot_say_does_not_stop_writing():
    dataset = {
        "00081030": {"vr": "LO", "Value": ["a\ud800b"]},
        "00200013": {"vr": "IS", "Value": [1 << 70]},
        "00701030": {"vr": "FD", "Value": [float("nan"), float("-inf")]},
    }
    (written,) = json.loads(dicomjson.write_all([dataset]))
    assert written["00081030"]["Value"] == ["a\ufffdb"]
    assert written["00200013"]["Value"] == [str(1 << 70)]
    assert written["00701030"]["Value"] == ["NaN", "-Infinity"]


def test_sequences_as_deep_as_any_limit_allows_are_written():
    dataset: dict = {"00080060": {"vr": "CS", "Value": ["CT"]}}
    for _ in range(150):
        dataset = {"00081115": {"vr": "SQ", "Value": [dataset]}}
    assert dicomjson.write(dataset).count(b"00081115") == 150


def test_no_data_set_is_an_empty_array():
    assert dicomjson.write_all([]) == b"[]"


def test_bulk_data_uris_become_absolute_and_nothing_else_changes():
    dataset = {
        "00081030": {"vr": "LO", "Value": ['"BulkDataURI":"', 'x"BulkDataURI', "bulkdata/"]},
        "00081199": {"vr": "SQ", "Value": [{"00282000": {"vr": "OB", "BulkDataURI": "bulkdata/1/0/2"}}]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"},
    }
    url = "https://example.org/dicom-web/studies/1/series/2/instances/3"
    written = orjson.loads(dicomjson.absolute(dicomjson.write(dataset), url))
    assert written["00081030"] == dataset["00081030"]
    assert written["00081199"]["Value"][0]["00282000"]["BulkDataURI"] == f"{url}/bulkdata/1/0/2"
    assert written["7FE00010"]["BulkDataURI"] == f"{url}/bulkdata/7FE00010"


@given(models.datasets())
def test_what_is_written_is_read_back(dataset):
    assert dicomjson.read(dicomjson.write(dataset)) == [dataset]


# -- reading leniently --------------------------------------------------------------------------------------


def test_a_single_object_counts_as_an_array_of_one():
    assert dicomjson.read(b'\xef\xbb\xbf{"00080060":{"vr":"CS","Value":["CT"]}}') == [
        {"00080060": {"vr": "CS", "Value": ["CT"]}}
    ]


@pytest.mark.parametrize("value", [[], [""], [None], None, "", "  ", ["\0"]])
@pytest.mark.parametrize("vr", ["LO", "CS", "UI", "PN", "DS", "IS", "UT", "DA"])
def test_every_spelling_of_an_empty_attribute_is_read_as_one_without_value(vr, value):
    assert read_one({"vr": vr, "Value": value}) == {"vr": vr}


@pytest.mark.parametrize("vr", ["US", "SL", "AT", "FL", "FD", "OB", "OF", "UV", "UN"])
@pytest.mark.parametrize("value", [[], [""], None, ""])
def test_empty_binary_attributes_have_no_value(vr, value):
    assert read_one({"vr": vr, "Value": value}) == {"vr": vr}


def test_empty_values_inside_a_multi_value_stay_null():
    assert read_one({"vr": "CS", "Value": ["A", None, "", "B"]}) == {
        "vr": "CS",
        "Value": ["A", None, None, "B"],
    }


@pytest.mark.parametrize(
    ("vr", "value", "expected"),
    [
        ("US", ["12"], [12]),
        ("US", [12.0], [12]),
        ("SS", "-5", [-5]),
        ("IS", ["+7", 8], [7, 8]),
        ("IS", ["1.5"], ["1.5"]),
        ("IS", ["99999999999999999999"], ["99999999999999999999"]),
        ("DS", ["1.50", 2], [1.5, 2.0]),
        ("DS", ["0.12345678901234567890"], ["0.12345678901234567890"]),
        ("DS", ["about 3"], ["about 3"]),
        ("DS", ["1\\2"], [1.0, 2.0]),
        ("DS", ["1e-9999999999"], ["1e-9999999999"]),
        ("FL", ["NaN", None, "inf", "-Infinity"], ["NaN", "NaN", "Infinity", "-Infinity"]),
        ("FL", [0.1], [0.10000000149011612]),
        ("FL", [1.7976931348623157e308], ["Infinity"]),
        ("FD", ["1.25", -1.7976931348623157e308], [1.25, -1.7976931348623157e308]),
        (
            "UV",
            [2**53, 2**53 + 1, "18446744073709551615"],
            [2**53, "9007199254740993", "18446744073709551615"],
        ),
        ("AT", ["0010001a", "(0010,0020)"], ["0010001A", "00100020"]),
        ("LO", [12], ["12"]),
        ("CS", ["ORIGINAL\\PRIMARY"], ["ORIGINAL", "PRIMARY"]),
        ("LT", ["a\\b  "], ["a\\b"]),
        ("UI", ["1.2.3\0"], ["1.2.3"]),
        ("PN", ["A^B=Ä"], [{"Alphabetic": "A^B", "Ideographic": "Ä"}]),
        ("PN", ["a==c=d"], [{"Alphabetic": "a", "Phonetic": "c=d"}]),
        ("PN", {"Phonetic": "c=d"}, [{"Phonetic": "c=d"}]),
        ("PN", {"Alphabetic": "A", "Phonetic": ""}, [{"Alphabetic": "A"}]),
        ("PN", [{"Alphabetic": "A"}, {}, None], [{"Alphabetic": "A"}, None, None]),
        ("SQ", {"00080060": {"vr": "CS"}}, [{"00080060": {"vr": "CS"}}]),
        ("SQ", [None, {}], [{}, {}]),
    ],
)
def test_what_toolkits_write_is_read_as_we_write_it(vr, value, expected):
    assert read_one({"vr": vr, "Value": value}) == {"vr": vr, "Value": expected}


def respelled(dataset):
    """The data set as a sloppy client writes it: small letters, numbers as strings, single values bare."""
    return {tag.lower(): respelled_element(element) for tag, element in dataset.items()}


def respelled_element(element):
    again = {**element, "vr": element["vr"].lower()}
    if element["vr"] == "SQ":
        again["Value"] = [respelled(item) for item in element.get("Value", [])]
    elif "Value" in element:
        values = [str(value) if isinstance(value, int | float) else value or "" for value in element["Value"]]
        again["Value"] = values[0] if len(values) == 1 else values
    return again


@given(models.datasets())
def test_a_sloppy_spelling_of_a_data_set_is_read_as_the_data_set(dataset):
    assert dicomjson.read(json.dumps(respelled(dataset)).encode()) == [dataset]


def test_bare_nan_and_infinity_are_read():
    data = b'[{"00701030":{"vr":"FD","Value":[NaN,-Infinity,1]}}]'
    assert dicomjson.read(data)[0]["00701030"]["Value"] == ["NaN", "-Infinity", 1.0]


@pytest.mark.parametrize("vr", ["US", "SL", "UV", "AT", "FD"])
def test_a_value_that_the_vr_cannot_hold_is_refused_with_the_tag(vr):
    for value in (["x"], [{}], [[1]], [True], [1e300 if vr != "FD" else "1e"]):
        with pytest.raises(BadRequest, match="00081030"):
            read_one({"vr": vr, "Value": value})


@pytest.mark.parametrize(("vr", "value"), [("US", 65536), ("US", -1), ("SS", 32768), ("SV", 2**63), ("FL", 1e39)])
def test_numbers_outside_of_the_range_of_the_vr_are_refused(vr, value):
    with pytest.raises(BadRequest, match=f"00081030 .* {vr}"):
        read_one({"vr": vr, "Value": [value]})


def test_lower_case_tags_are_read_but_not_twice():
    assert dicomjson.read(b'{"0020000d":{"vr":"ui","Value":["1.2"]}}') == [{"0020000D": {"vr": "UI", "Value": ["1.2"]}}]
    with pytest.raises(BadRequest, match="0020000D is there twice"):
        dicomjson.read(b'{"0020000d":{"vr":"UI"},"0020000D":{"vr":"UI"}}')


def test_inline_binary_is_read_with_white_space_and_without_padding():
    assert read_one({"vr": "OB", "InlineBinary": "AA\nE"}) == {"vr": "OB", "InlineBinary": "AAE="}
    assert read_one({"vr": "OB", "InlineBinary": ["AAE="]}) == {"vr": "OB", "InlineBinary": "AAE="}
    assert read_one({"vr": "OB", "InlineBinary": ""}) == {"vr": "OB"}


def test_numbers_in_place_of_inline_binary_are_packed_little_endian():
    assert read_one({"vr": "OW", "Value": [1, 258]}) == {"vr": "OW", "InlineBinary": "AQACAQ=="}
    assert read_one({"vr": "OF", "Value": [1.0]}) == {"vr": "OF", "InlineBinary": "AACAPw=="}


def test_a_missing_vr_comes_from_the_data_dictionary():
    dataset = {
        "00080060": {"Value": ["CT"]},
        "00280103": {"vr": "US", "Value": [1]},
        "00280106": {"Value": [-5]},
        "00290010": {"Value": ["SIEMENS MEDCOM HEADER"]},
        "00290060": None,
        "00291008": {"Value": ["NUMARIS"]},
        "7FE00010": {"BulkDataURI": "x"},
    }
    (read,) = dicomjson.read(orjson.dumps(dataset))
    assert {tag: element["vr"] for tag, element in read.items()} == {
        "00080060": "CS",
        "00280103": "US",
        "00280106": "SS",
        "00290010": "LO",
        "00290060": "LO",
        "00291008": "CS",
        "7FE00010": "OW",
    }


def test_group_two_group_lengths_and_padding_are_no_part_of_a_data_set():
    dataset = {tag: {"vr": "UL", "Value": [1]} for tag in ("00020010", "00080000", "00000002", "FFFCFFFC")}
    assert dicomjson.read(orjson.dumps({**dataset, "00080060": {"vr": "CS"}})) == [{"00080060": {"vr": "CS"}}]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
NAMES = ["00080060", "00081199", "vr", "Value", "InlineBinary", "BulkDataURI", "SQ", "Alphabetic"]
VRS = st.sampled_from(["SQ", "PN", "DS", "OW", "FL", "US"])


def containers(inner):
    return st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner | VRS, max_size=4)


@settings(max_examples=300)
@given(st.recursive(LEAVES, containers, max_leaves=12))
def test_whatever_is_sent_is_read_or_refused_and_what_is_read_can_be_written(raw):
    try:
        datasets = dicomjson.read(json.dumps(raw).encode())
    except BadRequest:
        return
    assert dicomjson.read(dicomjson.write_all(datasets)) == datasets


# -- hostile ------------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b'{"00081199":{"vr":"SQ","Value":[' * depth + b"]}}" * depth


def test_sequences_may_be_nested_as_deep_as_the_limit_and_no_deeper():
    assert dicomjson.read(nested(64))
    with pytest.raises(BadRequest, match="nested too deep"):
        dicomjson.read(nested(65))


@pytest.mark.parametrize(
    "data",
    [
        nested(5_000),
        b"[" * 100_000,
        b'{"00701030":{"vr":"FD","Value":[NaN,' + b"[" * 100_000,
        b'{"00701030":{"vr":"FD","Value":[NaN,' + b"[" * 100_000 + b"]" * 100_000 + b"]}}",
        b'{"00200013":{"vr":"IS","Value":[' + b"9" * 1_000_000 + b"]}}",
        b'{"00701030":{"vr":"FD","Value":[NaN,' + b"9" * 1_000_000 + b"]}}",
        b'{"00200013":{"vr":"US","Value":["' + b"9" * 1_000_000 + b'"]}}',
        b'{"00081030":{"vr":"LO","Value":["\\ud800"]}}',
        b'{"00701030":{"vr":"FD","Value":[NaN]},"00081030":{"vr":"LO","Value":["\\ud800"]}}',
        b'{"00081030":{"vr":"LO","Value":["\xff"]}}',
        b"",
        b"null",
        b"1",
        b'"text"',
        b"[[]]",
        b"[null]",
        b'{"PatientName":{"vr":"PN"}}',
        b'{"00081030":"text"}',
        b'{"00081030":{"vr":"ZZ"}}',
        b'{"00081030":{"vr":7}}',
        b'{"00081031":{"Value":["x"]}}',
        b'{"00091001":{"Value":["x"]}}',
        b'{"FFFEE000":{"vr":"SQ"}}',
        b'{"00081030":{"vr":"LO","InlineBinary":"AAE="}}',
        b'{"00081030":{"vr":"OB","InlineBinary":"AAE*"}}',
        b'{"00081030":{"vr":"OB","InlineBinary":7}}',
        b'{"00081030":{"vr":"OB","InlineBinary":"\xc3\xa9"}}',
        b'{"00081030":{"vr":"OB","BulkDataURI":7}}',
        b'{"00081199":{"vr":"SQ","BulkDataURI":"x"}}',
        b'{"00081199":{"vr":"SQ","Value":["x"]}}',
        b'{"00081030":{"vr":"OB","BulkDataURI":"x","InlineBinary":"AAE="}}',
        b'{"7FE00010":{"vr":"OB","DataFragment":[]}}',
        b'{"00100010":{"vr":"PN","Value":[{"Alphabetic":["x"]}]}}',
        b'{"00100010":{"vr":"PN","Value":[{"Alphabetic":"a\\\\b"}]}}',
    ],
)  # fmt: skip
def test_hostile_and_malformed_json_is_refused_at_once(data):
    before = time.process_time()
    with pytest.raises(BadRequest) as refusal:
        dicomjson.read(data)
    assert time.process_time() - before < 1
    assert len(str(refusal.value)) < 200


def test_numbers_of_a_million_digits_are_read_as_text_at_once():
    before = time.process_time()
    digits = "9" * 1_000_000
    for text in (digits, digits + "x", "0." + digits, "1e" + digits):
        assert read_one({"vr": "DS", "Value": [text]}) == {"vr": "DS", "Value": [text]}
    assert time.process_time() - before < 2


# -- looking into a model -----------------------------------------------------------------------------------


def test_the_first_value_is_given_as_text_and_as_integer():
    dataset = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Phonetic": "C"}]},
        "00200013": {"vr": "IS", "Value": [7, 8]},
        "00280010": {"vr": "US"},
    }
    assert dicomjson.text(dataset, "00100010") == "A^B==C"
    assert dicomjson.text_of(dataset["00200013"]) == "7"
    assert dicomjson.text_of(None) == dicomjson.text(dataset, "00280010") == dicomjson.text({}, "1") == ""
    assert dicomjson.integer(dataset["00200013"]) == 7
    assert dicomjson.integer(dataset["00280010"]) is None
    assert dicomjson.integer({"vr": "IS", "Value": ["1.5"]}) is None
    assert dicomjson.values(dataset, "00200013") == [7, 8]
    assert dicomjson.values(dataset, "00280010") == dicomjson.values(dataset, "00280011") == []


def test_attributes_are_selected_also_from_inside_sequences():
    inner = {"00100020": {"vr": "LO", "Value": ["P"]}, "00100021": {"vr": "LO"}}
    dataset = {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00101002": {"vr": "SQ", "Value": [inner, {}]},
        "00200013": {"vr": "IS"},
    }
    paths = [(0x00101002, 0x00100020), (0x00080060,), (0x00080060, 0x00080060), (0x00400275, 0x00400007)]
    assert dicomjson.select(dataset, paths) == {
        "00080060": {"vr": "CS", "Value": ["CT"]},
        "00101002": {"vr": "SQ", "Value": [{"00100020": inner["00100020"]}, {}]},
    }
    whole = dicomjson.select(dataset, [(0x00101002,), (0x00101002, 0x00100020)])
    assert whole == {"00101002": dataset["00101002"]}


def test_a_private_attribute_is_selected_by_its_creator_wherever_its_block_is():
    dataset = {
        "00290010": {"vr": "LO", "Value": ["OTHER"]},
        "00290011": {"vr": "LO", "Value": ["OURS"]},
        "00291001": {"vr": "LO", "Value": ["no"]},
        "00291101": {"vr": "LO", "Value": ["yes"]},
    }
    kept = {tag: dataset[tag] for tag in ("00290011", "00291101")}
    assert dicomjson.select(dataset, [(0x00291001,)], {0x00290010: "OURS"}) == kept
    assert dicomjson.select(dataset, [(0x00291101,)]) == kept
    assert dicomjson.select(dataset, [(0x00291001,)], {0x00290010: "NOBODY"}) == {}
