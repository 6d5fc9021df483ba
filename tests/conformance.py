"""The tables of the DICOM Conformance Statement, docs/conformance.md, made from what the code works with (PS3.2 N)."""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

import yaml
from pynetdicom import sop_class

from bridge import policy, statuses
from dicomweb.config import BRIDGE, LIMITS, settings
from dicomweb.imaging import targets
from dicomweb.standard import media, outcomes, rendering
from dicomweb.standard.attributes import ATTRIBUTES, LEVELS
from dicomweb.standard.dictionary import uid_name_of
from dicomweb.standard.encode import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomweb.standard.pixels import Format
from dicomweb.standard.syntaxes import EXPLICIT, JPEG_BASELINE, SYNTAXES, Syntax

# Frames of which one or the other can be made into everything that anything can be made into
_FORMATS = (
    Format(8, 8, allocated=8, stored=8, high=7),
    Format(8, 8, stored=12, high=11),
    Format(8, 8, samples=3, photometric="RGB", allocated=8, stored=8, high=7),
)


def tables(openapi: str) -> dict[str, str]:
    """Each table of the document by its mark.

    Args:
        openapi: the text of openapi.yaml.
    """
    return {
        "product": _table(
            ["", ""],
            [
                ("product", "Roentgate, DICOMweb server and DIMSE bridge"),
                ("version", version("roentgate")),
                ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
                ("standard", "DICOM 2025"),
                ("licence", "MIT"),
            ],
        ),
        "storage classes": _storage_classes(),
        "query classes": _query_classes(),
        "transfer syntaxes": _transfer_syntaxes(),
        "web services": _web_services(yaml.safe_load(openapi)["paths"]),
        "bulk types": _bulk_types(),
        "rendered types": _table(["media type", "lossy", "16 bits", "ICC profile"], _rendered_types()),
        "attributes": _attributes(),
        "store reasons": _table(["code", "meaning"], ((_code(code), text) for code, text in outcomes.MEANINGS.items())),
        "implementation": _table(
            ["what", "value"],
            [
                ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
                ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION_NAME}`"),
            ],
        ),
        "dimse settings": _of_group(BRIDGE, "dimse_"),
        "limits": _of_group(LIMITS, "limit_"),
        "statuses": _table(["status", "name in the code"], _statuses()),
    }


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _yes(held: Any) -> str:
    return "yes" if held else ""


def _code(code: int) -> str:
    return f"`{code:04X}`"


def _storage_classes() -> str:
    """Every SOP class of storage that has a name today (PS3.4 B.5); the web takes all others too."""
    uids = sorted(
        {str(uid) for uid in sop_class._STORAGE_CLASSES.values() if policy.is_storage(str(uid))}, key=_by_number
    )
    keywords = {str(uid): keyword for keyword, uid in sop_class._STORAGE_CLASSES.items()}
    return _table(["SOP Class UID", "name"], ((f"`{uid}`", uid_name_of(uid) or _words(keywords[uid])) for uid in uids))


def _words(keyword: str) -> str:
    """The name of a SOP class that is newer than the dictionary, from its keyword."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", keyword)


def _by_number(uid: str) -> list[int]:
    return [int(part) for part in uid.split(".")]


def _query_classes() -> str:
    models = {"FIND": policy.FIND, "MOVE": policy.MOVE, "GET": policy.GET}
    rows = [
        (f"`{uid}`", uid_name_of(uid) or "", f"C-{service}", _yes(root != "patient only"), "yes")
        for service, found in models.items()
        for uid, root in found.items()
    ]
    rows.insert(0, (f"`{policy.VERIFICATION}`", uid_name_of(policy.VERIFICATION) or "", "C-ECHO", "yes", "yes"))
    rows.append((f"`{policy.COMMITMENT}`", uid_name_of(policy.COMMITMENT) or "", "N-ACTION, N-EVENT-REPORT", "", "yes"))
    return _table(["SOP Class UID", "name", "service", "SCU", "SCP"], rows)


def _transfer_syntaxes() -> str:
    heads = ["Transfer Syntax UID", "name", "stored", "frames decoded", "made on request"]
    return _table(heads, (_transfer_syntax(one) for one in SYNTAXES.values()))


def _transfer_syntax(one: Syntax) -> tuple[str, ...]:
    made = "with loss" if one.uid in targets.LOSSY_TARGETS else _yes(one.uid in _made())
    decoded = "with the extra `video`" if one.video else _yes(one.kept and one.uid in targets.DECODED)
    return (f"`{one.uid}`", one.name, _yes(one.kept), decoded if one.kept else "", made)


def _made() -> set[str]:
    return {
        wanted
        for format in _FORMATS
        for stored in (EXPLICIT, JPEG_BASELINE)
        for wanted in targets.targets(stored, format)
    }


def _web_services(paths: dict[str, Any]) -> str:
    rows = [
        (f"`{method.upper()}`", f"`{path}`", what["summary"], ", ".join(sorted(what["responses"])))
        for path, methods in paths.items()
        if path.startswith(("/dicom-web", "/wado"))
        for method, what in methods.items()
        if isinstance(what, dict) and "responses" in what
    ]
    return _table(["method", "resource", "transaction", "statuses"], rows)


def _bulk_types() -> str:
    rows = ((f"`{kind}`", ", ".join(f"`{uid}`" for uid in uids)) for kind, uids in media.SYNTAXES.items())
    return _table(["media type", "transfer syntaxes, the default first"], rows)


def _rendered_types() -> Iterable[tuple[str, ...]]:
    for kind in rendering.PICTURES:
        yield (f"`{kind}`", *(_yes(kind in kinds) for kinds in (rendering.LOSSY, rendering.DEEP, rendering.PROFILED)))


def _attributes() -> str:
    rows = [
        (level, one.keyword, f"({one.tag >> 16:04X},{one.tag & 0xFFFF:04X})", one.vr, _matched(one), _yes(one.returned))
        for level in LEVELS
        for one in ATTRIBUTES
        if one.level == level
    ]
    return _table(["level", "attribute", "tag", "VR", "matched in", "always returned"], rows)


def _matched(one: Any) -> str:
    return "a column of its own" if one.column else "what is counted" if one.computed else "the index"


def _of_group(group: str, prefix: str) -> str:
    rows = (
        (f"`{spec.name}`", spec.default_text, spec.doc)
        for spec in settings()
        if spec.group == group and spec.name.startswith(prefix)
    )
    return _table(["setting", "default", "meaning"], rows)


def _statuses() -> Iterable[tuple[str, str]]:
    found = {value: name for name, value in vars(statuses).items() if name.isupper() and isinstance(value, int)}
    return ((_code(value), name.lower().replace("_", " ")) for value, name in sorted(found.items()))
