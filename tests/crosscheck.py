"""What pydicom reads from a file, as a DICOM JSON model to compare ours with.

Its own `to_json_dict` is not asked: it turns decimals into other numbers, keeps insertion order, and leaves
empty values in place. The values themselves are its own.
"""

import math
from base64 import b64encode
from typing import Any

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

_BINARY = {"OB", "OD", "OF", "OL", "OV", "OW", "UN"}
_TRIMMED = {"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UC", "UI", "UR", "PN"}
EXACT = 1 << 53


def model_of(ds: Dataset) -> dict[str, Any]:
    """The data set as a model. VRs that pydicom leaves open come with their bytes under "raw"."""
    model = {}
    for element in ds:
        tag = f"{int(element.tag):08X}"
        if element.tag.element == 0 or tag.startswith(("0002", "FFFC", "0000")):
            continue
        model[tag] = _element(element)
    return model


def _element(element: DataElement) -> dict[str, Any]:
    vr, value = str(element.VR), element.value
    if vr == "SQ":
        return {"vr": vr, "Value": [model_of(item) for item in value]} if len(value) else {"vr": vr}
    if " or " in vr:
        return {"vr": vr, "raw": value}
    if vr in _BINARY:
        return {"vr": vr, "raw": value or b""}
    values = [value] if element.VM == 1 or isinstance(value, str | bytes) else list(value or [])
    converted = [_value(vr, one) for one in values]
    return {"vr": vr, "Value": converted} if converted not in ([], [None]) else {"vr": vr}


def _value(vr: str, value: Any) -> Any:
    if value is None or (isinstance(value, str) and not value.strip(" \0")):
        return None
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), str(value).split("="), strict=False)
        return {name: text.strip(" \0") for name, text in groups if text.strip(" \0")} or None
    if vr in ("DS", "IS"):
        return str(value).strip(" \0") if isinstance(value, str) else value
    if vr == "AT":
        return f"{int(value):08X}"
    if isinstance(value, str):
        return value.strip(" \0") if vr in _TRIMMED else value.rstrip(" \0")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, int) and abs(value) > EXACT:
        return str(value)
    return value


def differences(theirs: dict[str, Any], ours: dict[str, Any], path: str = "") -> list[str]:
    """Where the two models differ; binary values by their bytes, numbers by their value."""
    found = []
    for tag in sorted(theirs.keys() | ours.keys()):
        where = f"{path}{tag}"
        if tag == "00080005":
            continue
        if tag not in theirs or tag not in ours:
            found.append(f"{where} only {'ours' if tag in ours else 'theirs'}")
            continue
        one, other = theirs[tag], ours[tag]
        if one["vr"] != other["vr"] and other["vr"] not in one["vr"].split(" or "):
            found.append(f"{where} {one['vr']} {other['vr']}")
        elif one["vr"] == "SQ":
            items = one.get("Value", []), other.get("Value", [])
            if len(items[0]) != len(items[1]):
                found.append(f"{where} number of items")
            for index, (item, again) in enumerate(zip(*items, strict=False)):
                found += differences(item, again, f"{where}/{index}/")
        elif "BulkDataURI" in other:
            continue
        elif "raw" in one:
            if isinstance(one["raw"], bytes) and other["vr"] in _BINARY:
                expected = b64encode(one["raw"]).decode()
                if other.get("InlineBinary", "") != expected:
                    found.append(f"{where} bytes")
        elif not _alike(one, other):
            found.append(f"{where} {one['vr']} {one.get('Value')!r:.80} {other.get('Value')!r:.80}")
    return found


def _alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    values, again = one.get("Value", []), other.get("Value", [])
    if one["vr"] in ("DS", "IS"):
        return len(values) == len(again) and all(_number(a) == _number(b) for a, b in zip(values, again, strict=True))
    return values == again


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
