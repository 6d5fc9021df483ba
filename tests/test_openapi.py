"""openapi/openapi.yaml says what the server does: every route, status, media type and header field of an answer is
in it, every status that it names is obtained from the application, and answers have the shape that it gives."""

import asyncio
import base64
import hashlib
import importlib.util
import itertools
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dicoms
import exchanging
import httpx
import packages
import pytest
import signing
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydicom.data import get_testdata_file
from pydicom.uid import DeflatedExplicitVRLittleEndian
from served import Served, written

from dicomweb.archive.making import pixel_source
from dicomweb.archive.retrieve import bulk_type
from dicomweb.errors import Error, NotAcceptable, OutOfSpace, Unavailable
from dicomweb.standard import media, negotiation, query
from dicomweb.standard.attributes import ATTRIBUTES, IF_KNOWN, RETRIEVE_URL, returned
from dicomweb.standard.dictionary import keyword_of
from dicomweb.standard.frames import Bulk
from dicomweb.standard.outcomes import MEANINGS
from dicomweb.standard.pixels import Format
from dicomweb.standard.rendering import PICTURES
from dicomweb.standard.syntaxes import SYNTAXES
from dicomweb.web import capabilities, cors, documentation, problems
from dicomweb.web.documentation import EXAMPLE_ROOT, operations, resolve, write_page, write_prose
from dicomweb.web.rights import rule_of
from dicomweb.web.routes import TABLE

ROOT = Path(__file__).parents[1]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text(encoding="utf-8"))
OPERATIONS = {
    operation["operationId"]: (path, method, operation, params)
    for path, method, operation, params in operations(DOCUMENT)
}
STATUSES = [(name, status) for name, (_, _, operation, _) in OPERATIONS.items() for status in operation["responses"]]
SCHEMAS = DOCUMENT["components"]["schemas"]

ALIVE, GONE, DEFLATED, UNKNOWN = 1, 2, 3, 99
DOOMED = {"deleteStudy": 4, "deleteSeries": 5, "deleteInstance": 6}
"""Numbers of the studies that the tests work on."""


def response_of(name: str, status: str) -> dict[str, Any]:
    return resolve(DOCUMENT, OPERATIONS[name][2]["responses"][status])


def types_of(name: str, status: str = "200") -> set[str]:
    return set(response_of(name, status)["content"])


def multiparts(kinds: set[str]) -> set[str]:
    return {f'multipart/related; type="{kind}"' for kind in kinds}


# -- the document itself -------------------------------------------------------------------------------------
def test_the_document_is_openapi_3_1():
    assert DOCUMENT["openapi"].startswith("3.1.")
    validate(DOCUMENT)


def test_the_document_has_the_version_of_the_distribution():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert DOCUMENT["info"]["version"] == project["version"]


def test_routes_and_document_list_the_same_paths_and_methods():
    there = {re.sub(r"\{(\w+):path\}", r"{\1}", path): {name.lower() for name in one.handlers} for path, one in TABLE}
    told = {path: {key for key in item if key != "parameters"} for path, item in DOCUMENT["paths"].items()}
    assert told == there


def test_the_document_says_which_operations_ask_nobody_who_he_is():
    public = {
        (re.sub(r"\{(\w+):path\}", r"{\1}", path), method.lower())
        for path, one in TABLE
        for method in one.handlers
        if rule_of(path, method).public
    }
    assert {(path, method) for path, method, one, _ in OPERATIONS.values() if one.get("security") == []} == public


def test_the_variables_of_a_path_are_its_parameters():
    for path, _, _, params in OPERATIONS.values():
        assert re.findall(r"\{(\w+)\}", path) == [one["name"] for one in params if one["in"] == "path"]


def test_every_component_is_used():
    used = set(re.findall(r"#/components/[\w/-]+", str(DOCUMENT)))
    made = {f"#/components/{kind}/{name}" for kind, members in DOCUMENT["components"].items() for name in members}
    schemes = {name for one in DOCUMENT["security"] for name in one}
    assert used | {f"#/components/securitySchemes/{name}" for name in schemes} == made


def test_operations_have_the_names_that_the_capabilities_give_them():
    def names(nodes: list[dict[str, Any]]) -> Iterator[str]:
        for node in nodes:
            yield from (method["@id"] for method in node.get("method", []))
            yield from names(node.get("resource", []))

    told = names(capabilities.model("")["application"]["resources"]["resource"])
    below = {name for name, (path, *_) in OPERATIONS.items() if path.startswith("/dicom-web/")}
    assert {name[0].lower() + name[1:] for name in told} == below


LEVELS_OF_SEARCH = {
    "searchForPatients": ["patient"],
    "searchForStudies": ["patient", "study"],
    "searchForSeries": ["patient", "study", "series"],
    "searchForInstances": ["patient", "study", "series", "instance"],
    "searchForSeriesOfStudy": ["series"],
    "searchForInstancesOfStudy": ["series", "instance"],
    "searchForInstancesOfSeries": ["instance"],
}


@pytest.mark.parametrize("name", LEVELS_OF_SEARCH)
def test_searches_list_every_option_and_every_attribute_that_has_an_index(name):
    told = [one["name"] for one in OPERATIONS[name][3] if one["in"] == "query"]
    indexed = [one.keyword for one in ATTRIBUTES if one.column and one.level in LEVELS_OF_SEARCH[name]]
    assert sorted(told) == sorted([*indexed, *query._OPTIONS, *query._ELSEWHERE, "attributes"])


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_what_a_result_must_have_is_what_every_answer_has(level):
    always = {one.tag for one in returned(level, True, True) if one.tag not in IF_KNOWN}
    if level != "patient":
        always.add(RETRIEVE_URL)
    assert SCHEMAS[level.capitalize()]["required"] == [f"{tag:08X}" for tag in sorted(always)]


def test_comments_beside_tags_are_their_keywords():
    text = (ROOT / "openapi" / "openapi.yaml").read_text(encoding="utf-8")
    beside = re.findall(r'- "([0-9A-F]{8})" # (\w+)$', text, re.MULTILINE)
    assert len(beside) > 20
    assert [(tag, keyword) for tag, keyword in beside if keyword_of(int(tag, 16)) != keyword] == []


def test_reasons_of_refusals_and_warnings_are_those_of_the_code():
    codes = SCHEMAS["FailureReason"]["properties"]["Value"]["items"]["enum"]
    odd = SCHEMAS["StoredInstance"]["properties"]["00081196"]["properties"]["Value"]["items"]["enum"]
    assert sorted([*codes, *odd]) == sorted(MEANINGS)


def test_what_pages_of_other_origins_may_read_is_listed():
    told = DOCUMENT["info"]["description"].partition("**Other origins.**")[2].partition("are exposed")[0]
    assert set(re.findall(r"`([\w-]+)`", told)) == set(cors.EXPOSED.decode().split(", "))


def examples() -> Iterator[tuple[str, Any, Any]]:
    components = DOCUMENT["components"]
    for name, one in components["parameters"].items():
        if "example" in one:
            yield f"parameter {name}", one["schema"], one["example"]
    for name, one in components["headers"].items():
        if "example" in one:
            yield f"header {name}", one["schema"], one["example"]
    for name, one in components["responses"].items():
        for kind, content in one.get("content", {}).items():
            if "example" in content:
                yield f"{name} {kind}", content["schema"], content["example"]


def errors_of(schema: Any, value: Any) -> list[str]:
    """What is wrong with a value by a schema of the document."""
    validator = Draft202012Validator({**schema, "components": DOCUMENT["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


EXAMPLES = list(examples())


@pytest.mark.parametrize(("schema", "value"), [one[1:] for one in EXAMPLES], ids=[one[0] for one in EXAMPLES])
def test_examples_have_the_shape_that_they_are_examples_of(schema, value):
    assert errors_of(schema, value) == []


@pytest.mark.parametrize(
    "element",
    [
        {},
        {"vr": "XX"},
        {"vr": "PN", "Value": ["Plain^Name"]},
        {"vr": "OW", "Value": [1]},
        {"vr": "LO", "InlineBinary": "AAAA"},
        {"vr": "OB", "InlineBinary": "AAAA", "BulkDataURI": "x"},
        {"vr": "SQ", "Value": [{"patientname": {"vr": "PN"}}]},
        {"vr": "LO", "Value": []},
    ],
)
def test_the_shape_of_an_element_refuses_what_is_none(element):
    assert errors_of({"$ref": "#/components/schemas/DicomElement"}, element) != []


# -- media types ---------------------------------------------------------------------------------------------
PIXEL_KINDS = [
    (syntax.uid, "video" if syntax.video else "encapsulated" if syntax.encapsulated else "native")
    for syntax in SYNTAXES.values()
    if syntax.kept
]


def made_of_pixels(choose: Callable[..., negotiation.Choice], single: bool) -> set[str]:
    """Every form that pixels of any transfer syntax go out in, whatever a client accepts."""
    accepts = [
        f"{kind}{syntax}"
        for name in ("*/*", *media.SYNTAXES)
        for kind in (name, f'multipart/related; type="{name}"')
        for syntax in ("", "; transfer-syntax=*")
    ]
    made = set()
    formats = (None, Format(512, 512), Format(512, 512, 3, "RGB", 0, 8, 8, 7))
    for accept, (uid, kind), format in itertools.product(accepts, PIXEL_KINDS, formats):
        try:
            choice = choose(media.read_accept(accept), pixel_source(uid, kind, format), single)
        except NotAcceptable:
            continue
        made |= multiparts({choice.media_type}) if choice.multipart else {choice.media_type}
    return made


def test_media_types_of_frames_are_those_that_they_are_sent_in():
    made = made_of_pixels(negotiation.for_frames, True) | made_of_pixels(negotiation.for_frames, False)
    assert types_of("retrieveFrames") == made


def test_media_types_of_pixel_data_are_those_that_they_are_sent_in():
    parts = made_of_pixels(negotiation.for_pixels, False)
    assert types_of("retrieveStudyPixelData") == types_of("retrieveSeriesPixelData") == parts
    assert types_of("retrieveInstancePixelData") == parts | made_of_pixels(negotiation.for_pixels, True)


def test_media_types_of_bulk_data_are_those_of_pixels_and_of_documents_that_no_browser_runs():
    documents = types_of("retrieveInstanceBulkdata") - types_of("retrieveInstancePixelData")
    bare = {kind for kind in documents if not kind.startswith("multipart")}
    assert documents == bare | multiparts(bare)
    assert types_of("retrieveBulkdataValue") == types_of("retrieveInstanceBulkdata")
    for name in ("retrieveStudyBulkdata", "retrieveSeriesBulkdata"):
        assert types_of(name) == types_of("retrieveStudyPixelData") | multiparts(bare)

    def sent_as(kind: str) -> str:
        return bulk_type(Bulk("OB", 0, 1, 0, kind))

    told = {kind.replace("*", "x-any") for kind in bare}
    assert {kind for kind in told if sent_as(kind) != kind} == set()
    others = {"text/html", "image/svg+xml", "application/xml", "text/xml", "application/javascript"}
    assert {sent_as(kind) for kind in others} == {"application/octet-stream"}


def test_media_types_of_instances_are_dicom_zip_and_those_of_their_pixels():
    parts = multiparts({"application/dicom"}) | types_of("retrieveStudyPixelData")
    assert types_of("retrieveStudy") == types_of("retrieveSeries") == parts | {"application/zip"}
    assert types_of("retrieveInstance") == parts | {"application/zip", "application/dicom"}
    assert types_of("retrieveByQuery") == {"application/dicom"} | {
        kind for kind in types_of("retrieveRenderedInstance") if not kind.startswith("multipart")
    }


def test_no_media_type_is_named_that_the_code_does_not_know():
    known = {media.DICOM, media.JSON, media.XML, media.ZIP, *media.SYNTAXES, problems.MEDIA_TYPE}
    known |= {*PICTURES, "image/svg+xml", "text/plain", "text/xml", "application/pdf", "video/mp2t", "video/H264"}
    known |= {
        "model/stl",
        "model/obj",
        "model/mtl",
        capabilities.JSON,
        capabilities.WADL,
        "text/css",
        "text/html",
        "text/javascript",
        "text/event-stream",
    }
    named = set()
    for name, (_, _, operation, _) in OPERATIONS.items():
        if not name.endswith(("Bulkdata", "BulkdataValue")):  # documents have any type: tested above
            for status in operation["responses"]:
                named |= set(response_of(name, status).get("content", {}))
    assert {kind for kind in named if kind not in known | multiparts(known)} == {"*/*"}


# -- what the server answers ---------------------------------------------------------------------------------
@dataclass
class World:
    """Servers that can be brought to any answer: one with usual settings, one with tight limits, one that asks who is
    calling."""

    usual: Served
    tight: Served
    signing: signing.Signing


@pytest.fixture(scope="module")
def around():
    with exchanging.around() as made:
        yield made


@pytest.fixture(scope="module")
def world(tmp_path_factory, around):
    usual = exchanging.served(tmp_path_factory.mktemp("usual"), around)
    packages.install(usual.config.viewers)
    for study in (ALIVE, GONE, *DOOMED.values()):
        usual.store(dicoms.ct(study=study))
    usual.store(written(dicoms.dataset(study=DEFLATED), DeflatedExplicitVRLittleEndian))
    assert usual.client.delete(f"/dicom-web/studies/{dicoms.PREFIX}.{GONE}").status_code == 204
    tight = Served(
        tmp_path_factory.mktemp("tight"),
        scan_limit_instances=0,
        limit_request_bytes=5000,
        limit_rate_grace_seconds=0.1,
        path_prefix="/pacs",
    )
    tight.store(dicoms.ct(study=ALIVE))
    with signing.signing(tmp_path_factory.mktemp("signing")) as made:
        yield World(usual, tight, made)


def fill(name: str, study: int = ALIVE) -> str:
    """The URL of an operation for one of the studies."""
    uid = f"{dicoms.PREFIX}.{study}"
    path = OPERATIONS[name][0]
    if path == "/wado":
        what = f"studyUID={uid}&seriesUID={uid}.1&objectUID={uid}.1.1"
        return f"/wado?requestType=WADO&{what}&contentType=application/dicom"
    if path == "/explorer/{file}":
        return f"/explorer/{'app.js' if study == ALIVE else 'nothing.js'}"
    if path.startswith("/viewer/"):
        return path.format(viewer="ohif" if study == ALIVE else "nothing", path="app-config.js")
    if path == "/lookup":
        return f"/lookup?q=P{study}"
    return path.format(
        study=uid, series=f"{uid}.1", instance=f"{uid}.1.1", frames="1", value="7FE00010", **exchanging.NAMES
    )


class Broken:
    """Stands for an index or a storage none of whose methods works."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise self._error

        return fail


def obtain(world: World, patch: pytest.MonkeyPatch, name: str, status: str) -> httpx.Response:
    """Bring the server to an answer of this status."""
    _, method, operation, _ = OPERATIONS[name]
    if operation["tags"] == ["Store"]:
        return obtain_of_store(world, patch, name, status)
    if name in signing.OPERATIONS:
        return signing.obtain(world.signing, name, status)
    if name in exchanging.OPERATIONS:
        return exchanging.obtain(world.usual, name, status)
    served, url, headers = world.usual, fill(name), {}
    if status == "204":
        if method == "delete":
            url = fill(name, DOOMED[name])
        else:
            url, headers = f"{url}?PatientID=nobody", {"accept": 'multipart/related; type="application/dicom+xml"'}
    elif status == "206":
        headers = {"range": "bytes=0-3"}
    elif status == "304":
        headers = {"if-none-match": "*"}
    elif status == "308":
        served, url = world.tight, "/pacs"
    elif status == "400":
        if name == "lookUp":
            url = "/lookup"
        else:
            url = f"{url}?limit=few" if name in LEVELS_OF_SEARCH else url.replace(dicoms.PREFIX, "x")
    elif status == "404":
        url = fill(name, UNKNOWN)
    elif status == "406":
        url, headers = url.replace("application/dicom", "text/csv"), {"accept": "text/csv"}
    elif status == "410":
        url = fill(name, GONE)
    elif status == "413":
        served, url = world.tight, f"{url}?PatientSpeciesDescription=cat"
    elif status == "416":
        headers = {"range": "bytes=100000000-"}
    elif status in {"500", "503"}:
        break_down(patch, served, RuntimeError("hush") if status == "500" else Unavailable("no answer"))
    elif status == "507":
        url = fill(name, DEFLATED)
        patch.setattr(served.archive.storage, "put", lambda puts: [OutOfSpace("the disk is full") for _ in puts])
    else:
        assert status == "200", f"nobody knows how to obtain {status}"
    return served.client.request(method.upper(), url, headers=headers)


def break_down(patch: pytest.MonkeyPatch, served: Served, error: Exception) -> None:
    state = served.client.app.state
    patch.setattr(state.archive, "index", Broken(error))
    patch.setattr(state.retrieval, "_index", Broken(error))
    patch.setattr(state.readiness, "_parts", {"index": Broken(error)})
    patch.setattr(state.readiness, "_until", 0.0)


def obtain_of_store(world: World, patch: pytest.MonkeyPatch, name: str, status: str) -> httpx.Response:
    served, kind, body = world.usual, "application/dicom", dicoms.ct(study=ALIVE)
    other = dicoms.ct(study=ALIVE, PatientID="another")
    content: Any = body
    if status == "202":
        kind, content = "multipart/related; type=application/dicom; boundary=b", multipart_of(body, other)
    elif status == "400":
        content = b"no DICOM at all"
    elif status == "408":
        served, content = world.tight, never()
    elif status == "409":
        content = other
    elif status == "413":
        served, content = world.tight, bytes(10_000)
    elif status == "415":
        kind = "text/plain"
    elif status == "500":
        patch.setitem(served.client.app.state._state, "archive", Broken(RuntimeError("hush")))
    elif status in {"503", "507"}:
        error: Error = OutOfSpace("the disk is full") if status == "507" else Unavailable("no answer")
        patch.setattr(served.archive.storage, "put", lambda puts: [error for _ in puts])
        content = dicoms.ct(number=77, study=ALIVE)
    else:
        assert status == "200", f"nobody knows how to obtain {status}"
    return served.client.post(fill(name), content=content, headers={"content-type": kind})


def multipart_of(*objects: bytes) -> bytes:
    return b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n%b\r\n" % one for one in objects) + b"--b--\r\n"


async def never() -> AsyncIterator[bytes]:
    """A body that does not come."""
    await asyncio.Event().wait()
    yield b""


EVERYWHERE = {"content-type", "x-content-type-options", "referrer-policy"}
"""Header fields that are described once for all answers."""


def key_of(content_type: str) -> str:
    """A Content-Type as the document spells it."""
    kind = media.read_type(content_type)
    return f'{kind.name}; type="{kind.params["type"]}"' if kind.type == "multipart" else kind.name


def check(name: str, answer: httpx.Response) -> None:
    """Hold an answer to the document."""
    told = response_of(name, str(answer.status_code))
    fields = dict(told.get("headers", {}))
    if answer.status_code in {206, 304}:  # as the whole answer would have had
        fields = {**response_of(name, "200").get("headers", {}), **fields}
    known = {field.lower(): resolve(DOCUMENT, one) for field, one in fields.items()}
    assert set(answer.headers) - EVERYWHERE - set(known) == set()
    for field, one in known.items():
        for value in answer.headers.get_list(field):
            number = one["schema"].get("type") == "integer"
            assert errors_of(one["schema"], int(value) if number else value) == [], field
    if "content" not in told:
        assert answer.content == b""
        return
    key = key_of(answer.headers["content-type"])
    assert key in told["content"] or "*/*" in told["content"], key
    if key.endswith("json") and key in told["content"]:
        assert errors_of(told["content"][key]["schema"], answer.json()) == []


@pytest.mark.parametrize(("name", "status"), STATUSES)
def test_every_status_in_the_document_is_obtained_and_looks_as_described(world, monkeypatch, caplog, name, status):
    answer = obtain(world, monkeypatch, name, status)
    assert answer.status_code == int(status), answer.text[:300]
    check(name, answer)
    assert "hush" not in answer.text


@pytest.mark.parametrize("name", ["storeInstances", "storeStudyInstances"])
@pytest.mark.parametrize("accept", ["application/dicom+json", "application/dicom+xml"])
@pytest.mark.parametrize("status", ["200", "202", "400", "409", "503", "507"])
def test_outcomes_of_a_store_come_in_both_forms(world, monkeypatch, name, accept, status):
    post = world.usual.client.post

    def accepting(url: str, headers: dict[str, str], **more: Any) -> httpx.Response:
        return post(url, headers={**headers, "accept": accept}, **more)

    monkeypatch.setattr(world.usual.client, "post", accepting)
    answer = obtain_of_store(world, monkeypatch, name, status)
    assert (answer.status_code, answer.headers["content-type"]) == (int(status), accept)
    check(name, answer)


@pytest.mark.parametrize(
    ("error", "status"), [(None, 400), (Unavailable("no answer"), 503), (OutOfSpace("the disk is full"), 507)]
)
def test_a_store_that_fails_as_a_whole_is_answered_by_a_problem_document(world, monkeypatch, error, status):
    kind = "multipart/related; type=application/dicom; boundary=b"
    if error is not None:
        monkeypatch.setattr(world.usual.archive, "spool", Broken(error))
    body = b"--b--\r\n" if error is None else multipart_of(dicoms.ct())
    answer = world.usual.client.post("/dicom-web/studies", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (status, problems.MEDIA_TYPE)
    check("storeInstances", answer)


@pytest.mark.parametrize("kind", DOCUMENT["components"]["requestBodies"]["Instances"]["content"])
def test_store_reads_the_media_types_that_it_is_said_to_read(world, kind):
    answer = world.usual.client.post(
        "/dicom-web/studies", content=b"--b--\r\n", headers={"content-type": f"{kind}; boundary=b"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "name", [name for name, (_, method, _, _) in OPERATIONS.items() if method == "get" and name != "isReady"]
)
def test_every_resource_that_knows_get_knows_head_and_options(world, name):
    client, path = world.usual.client, OPERATIONS[name][0]
    whole, head = (client.request(method, fill(name)) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/dicom-web":
        options = client.options(fill(name))
        assert (options.status_code, options.content) == (204, b"")
        known = {key.upper() for key in DOCUMENT["paths"][path] if key != "parameters"}
        assert set(options.headers["allow"].split(", ")) == known | {"HEAD", "OPTIONS"}
    unknown = client.request("PATCH", fill(name))
    assert unknown.status_code == 405
    assert errors_of({"$ref": "#/components/schemas/Problem"}, unknown.json()) == []


def test_a_page_of_searches_with_warnings_and_a_next_page_looks_as_described(world):
    answer = world.usual.client.get("/dicom-web/studies?limit=1&Nonsense=1&includefield=all")
    assert len(answer.headers.get_list("warning")) >= 1
    assert 'rel="next"' in answer.headers["link"]
    check("searchForStudies", answer)


@pytest.mark.parametrize(
    ("name", "accept"),
    [
        *((name, 'multipart/related; type="application/dicom+xml"') for name in LEVELS_OF_SEARCH),
        ("retrieveStudyMetadata", 'multipart/related; type="application/dicom+xml"'),
        ("retrieveStudy", "application/zip"),
        ("retrieveStudy", 'multipart/related; type="application/octet-stream"'),
        ("retrieveInstance", "application/zip"),
        ("retrieveInstance", "application/dicom"),
        ("retrieveFrames", "application/octet-stream"),
        ("retrieveInstancePixelData", 'multipart/related; type="application/octet-stream"'),
        ("getCapabilities", "application/vnd.sun.wadl+xml"),
        ("retrieveRenderedStudy", 'multipart/related; type="image/jpeg"'),
        ("retrieveRenderedStudy", "image/png"),
        ("retrieveRenderedInstance", "image/gif"),
        ("retrieveRenderedInstance", 'multipart/related; type="image/png"'),
        ("retrieveRenderedFrames", "image/jp2"),
        ("retrieveSeriesThumbnail", "image/png"),
        ("retrieveByQuery", "application/dicom"),
    ],
)
def test_other_forms_that_a_client_may_ask_for_look_as_described(world, name, accept):
    answer = world.usual.client.get(fill(name), headers={"accept": accept})
    assert answer.status_code == 200
    assert key_of(answer.headers["content-type"]) == accept
    check(name, answer)


# -- examples that run ---------------------------------------------------------------------------------------
def read_curl(text: str) -> tuple[str, str, dict[str, str], bytes | None]:
    """Method, path with query, header fields and body of a command line."""
    words = iter(shlex.split(text))
    assert next(words) == "curl"
    method, url, headers, body = "GET", "", {}, None
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            key, _, value = next(words).partition(": ")
            headers[key] = value
        elif word == "-d":
            body, method = next(words).encode(), "POST" if method == "GET" else method
        elif word == "-N":
            continue
        elif word == "--data-binary":
            assert next(words) == "@CT_small.dcm"
            body = CT_SMALL.read_bytes()
        elif word == "-o":
            next(words)
        else:
            url = word
    assert url.startswith(EXAMPLE_ROOT), text
    return method, url.removeprefix(EXAMPLE_ROOT), headers, body


CT_SMALL = Path(str(get_testdata_file("CT_small.dcm")))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_command_line_of_every_operation_works(tmp_path, around, world, name):
    path, method, operation, _ = OPERATIONS[name]
    served = exchanging.served(tmp_path, around)
    packages.install(served.config.viewers)
    served.store(CT_SMALL.read_bytes())
    asked, url, headers, body = read_curl(operation["x-curl"])
    assert asked == method.upper()
    assert re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)), url.partition("?")[0])
    if name == "getConflict":
        url = url.replace(exchanging.NAMES["version"], exchanging.conflict(served))
    with signing.ready(world.signing, name) as signed:
        asked_of = signed.client if name in signing.OPERATIONS else served.client
        answer = asked_of.request(asked, url, headers=headers, content=body)
    assert str(answer.status_code) == min(operation["responses"]), answer.text[:300]
    assert answer.content != b"[]" or name == "readVisit"
    check(name, answer)


# -- as it is served -----------------------------------------------------------------------------------------
def test_the_document_is_served_as_json_with_the_address_that_the_client_used(world):
    served = world.usual.client.get("/openapi.json").json()
    assert served["servers"][0]["url"] == EXAMPLE_ROOT
    assert served["paths"] == DOCUMENT["paths"]
    validate(served)


@pytest.mark.parametrize(
    ("settings", "address", "root", "shown"),
    [
        ({"public_url": "https://pacs.example/x"}, "/openapi.json", "https://pacs.example/x", "https://pacs.example/x"),
        ({"path_prefix": "/pacs"}, "/pacs/openapi.json", f"{EXAMPLE_ROOT}/pacs", f"{EXAMPLE_ROOT}/pacs"),
        ({"http_host": "0.0.0.0", "insecure": True}, "/openapi.json", "/", EXAMPLE_ROOT),
    ],
)
def test_examples_begin_with_what_clients_call_the_server(tmp_path, settings, address, root, shown):
    client = Served(tmp_path, **settings).client
    served = client.get(address).json()
    assert served["servers"][0]["url"] == root
    assert served["paths"]["/lookup"]["get"]["x-curl"] == f"curl '{shown}/lookup?q=1CT1'\n"
    page = client.get(address.replace("openapi.json", "docs"))
    assert f"{shown}/lookup?q=1CT1" in page.text
    assert f'href="{"" if root == "/" else root}/openapi.json"' in page.text


class Outline(HTMLParser):
    """What there is in a page: elements properly nested, their ids, what they lead to, styles and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.handlers += [key for key in given if key.startswith("on") or key == "style"]
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))
        elif "src" in given or "href" in given:
            self.loads.append(str(given.get("src", given.get("href"))))
        if tag not in {"meta", "link", "input", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inside:
            self.inside[self.open[-1]].append(data)


def test_the_page_has_every_operation_and_loads_nothing_from_elsewhere(world):
    answer = world.usual.client.get("/docs")
    outline = Outline(answer.text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert set(OPERATIONS) | {f"schema-{name}" for name in SCHEMAS} <= set(outline.ids)
    assert outline.loads == ["data:,"]
    inner = {link[1:] for link in outline.links if link.startswith("#")}
    assert inner <= set(outline.ids)
    assert {link for link in outline.links if not link.startswith("#")} == {f"{EXAMPLE_ROOT}/openapi.json"}
    for _, _, operation, params in OPERATIONS.values():
        assert operation["summary"] in answer.text
        assert all(f"<code>{one['name']}</code>" in answer.text for one in params)


def test_the_policy_of_the_page_lets_its_own_style_and_script_run_and_nothing_else(world):
    answer = world.usual.client.get("/docs")
    policy = dict(entry.strip().split(" ", 1) for entry in answer.headers["content-security-policy"].split(";"))
    outline = Outline(answer.text)
    for kind, texts in outline.inside.items():
        digest = base64.b64encode(hashlib.sha256("".join(texts).encode()).digest()).decode()
        assert policy[f"{kind}-src"] == f"'sha256-{digest}'"
    assert outline.handlers == [], "handlers and styles in attributes would be blocked"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


def test_prose_is_written_as_html_and_never_taken_for_it():
    assert write_prose("One `a<b` and\n**two & three**.\n\n- x\n  y\n- `z`") == (
        "<p>One <code>a&lt;b</code> and <strong>two &amp; three</strong>.</p>"
        "<ul><li>x y</li><li><code>z</code></li></ul>"
    )
    assert write_prose("Reasons:\n- one\n- two") == "<p>Reasons:</p><ul><li>one</li><li>two</li></ul>"


def test_a_root_that_looks_like_markup_stays_text():
    text, _ = write_page('https://a.example/"><script>x</script>')
    assert b"<script>x" not in text


def test_whoever_asks_below_links_that_nobody_made_has_no_page_made(monkeypatch):
    kept, _ = write_page("https://pacs.example")
    monkeypatch.setattr(documentation, "write_prose", None)
    monkeypatch.setattr(documentation.orjson, "loads", None)
    for number in range(20):
        root = f"https://pacs.example/s/{number:016x}"
        text, _ = write_page(root)
        assert text == kept.replace(b"https://pacs.example", root.encode())


def test_a_built_package_has_the_document_beside_the_page(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="no setuptools: pip install 'setuptools>=77'")
    command = ["egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(tmp_path / "built")]
    subprocess.run([sys.executable, "setup.py", "-q", *command], cwd=ROOT, check=True, capture_output=True, timeout=120)
    built = tmp_path / "built" / "dicomweb" / "web"
    assert (built / "pages" / "openapi.yaml").read_bytes() == (ROOT / "openapi" / "openapi.yaml").read_bytes()
    spec = importlib.util.spec_from_file_location("built_documentation", built / "documentation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.write_page("") == write_page("")
