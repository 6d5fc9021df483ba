"""Resources of the Studies service: URL templates, and what a URL names (PS3.18 10.1).

A URL is `base` and a path; the base has no slash at its end and comes from the request or a setting. UIDs
of a path are digits and dots, and nothing else ever gets past `read_uid`; they are not held to PS3.5 9.1
beyond that, since archived objects have UIDs with leading zeros too.
"""

import re
from dataclasses import dataclass, fields

from dicomweb.errors import BadRequest, NotFound

_UID = re.compile(r"(?=\.*[0-9])[0-9.]{1,64}")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_FRAMES = re.compile(r"[0-9]+(?:,[0-9]+)*")
_DEEPEST = 200
_LONGEST_VALUE = 5000


@dataclass(frozen=True, slots=True)
class Template:
    """One row of the table.

    Attributes:
        name: what the Standard calls the resource.
        path: URI template below the base; names of variables are those of `Resource`.
    """

    name: str
    path: str


_SERIES = "/studies/{study}/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_FRAME = _INSTANCE + "/frames/{frames}"

# PS3.18 Table 10.1-1, in the order of the Standard (W-200 to W-221).
TEMPLATES: tuple[Template, ...] = (
    Template("All Studies", "/studies"),
    Template("Study", "/studies/{study}"),
    Template("Study Metadata", "/studies/{study}/metadata"),
    Template("Study Bulkdata", "/studies/{study}/bulkdata"),
    Template("Study Pixel Data", "/studies/{study}/pixeldata"),
    Template("Rendered Study", "/studies/{study}/rendered"),
    Template("Study Thumbnail", "/studies/{study}/thumbnail"),
    Template("Study's Series", "/studies/{study}/series"),
    Template("Study's Instances", "/studies/{study}/instances"),
    Template("All Series", "/series"),
    Template("Series", _SERIES),
    Template("Series Metadata", _SERIES + "/metadata"),
    Template("Series Bulkdata", _SERIES + "/bulkdata"),
    Template("Series Pixel Data", _SERIES + "/pixeldata"),
    Template("Rendered Series", _SERIES + "/rendered"),
    Template("Series Thumbnail", _SERIES + "/thumbnail"),
    Template("Series' Instances", _SERIES + "/instances"),
    Template("All Instances", "/instances"),
    Template("Instance", _INSTANCE),
    Template("Instance Metadata", _INSTANCE + "/metadata"),
    Template("Instance Bulkdata", _INSTANCE + "/bulkdata"),
    Template("Instance Pixel Data", _INSTANCE + "/pixeldata"),
    Template("Rendered Instance", _INSTANCE + "/rendered"),
    Template("Instance Thumbnail", _INSTANCE + "/thumbnail"),
    Template("Frames", _FRAME),
    Template("Rendered Frames", _FRAME + "/rendered"),
    Template("Frame Thumbnail", _FRAME + "/thumbnail"),
    Template("Bulkdata", _INSTANCE + "/bulkdata/{value}"),
)
"""Bulkdata URIs are the server's own affair (W-220); ours name the element by tags and item indices."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What a path names; what it does not name is "".

    Attributes:
        study, series, instance: UIDs.
        frames: frame numbers as written, such as "1,2,5"; `frames.read_list` reads them.
        value: tags and item indices of a bulk data value, such as "00480105/0/00282000".
        aspect: what of it: "" (itself), "metadata", "rendered", "thumbnail", "bulkdata", "pixeldata", or the
            collection in it: "studies", "series", "instances".
    """

    study: str = ""
    series: str = ""
    instance: str = ""
    frames: str = ""
    value: str = ""
    aspect: str = ""


def read_uid(text: str) -> str:
    """Check a UID of a path (PS3.18 10.1.1): digits and dots, at most 64.

    Returns:
        The UID as it stands.

    Raises:
        BadRequest: it holds anything else.
    """
    if not _UID.fullmatch(text):
        raise BadRequest("a UID in the path is not one: it has digits and dots, and at most 64 of them")
    return text


def read_value(text: str) -> str:
    """Check the path of a bulk data value below `.../bulkdata/` and return it as we write it: tags, upper
    case, and 0-based item indices in turn (PS3.18 10.1, W-220: the form is ours).

    Raises:
        NotFound: we never write such a path, so nothing can be there.
    """
    steps = text.split("/") if len(text) <= _LONGEST_VALUE else []
    tags, indices = steps[::2], steps[1::2]
    whole = len(steps) % 2 == 1 and len(steps) <= 2 * _DEEPEST
    if not whole or not all(map(_TAG.fullmatch, tags)) or not all(map(_INDEX.fullmatch, indices)):
        raise NotFound("there is no such bulk data")
    return text.upper()


def read_path(path: str) -> Resource:
    """Say what a path below the base names (PS3.18 Table 10.1-1). Doubled slashes and one at the end are
    passed over.

    Raises:
        NotFound: no resource has such a path.
        BadRequest: a UID or a list of frames in it is none.
    """
    text = "/" + "/".join(step for step in path.split("/") if step)
    for template, pattern, aspect in _PATTERNS:
        match = pattern.fullmatch(text)
        if match is None:
            continue
        names = match.groupdict()
        for level in ("study", "series", "instance"):
            if level in names:
                read_uid(names[level])
        if "value" in names:
            names["value"] = read_value(names["value"])
        if "frames" in names and not _FRAMES.fullmatch(names["frames"]):
            raise BadRequest(f"{template.name} are asked for by numbers with commas between them")
        return Resource(**names, aspect=aspect)
    raise NotFound("there is nothing at this address")


def write_path(resource: Resource) -> str:
    """Return the path of a resource below the base (PS3.18 Table 10.1-1); `read_path` undoes it."""
    steps = []
    for level in ("study", "series", "instance"):
        if uid := getattr(resource, level):
            steps += [_PLURAL[level], uid]
    if resource.frames:
        steps += ["frames", resource.frames]
    if resource.value:
        steps += ["bulkdata", resource.value]
    if resource.aspect:
        steps.append(resource.aspect)
    return "/" + "/".join(steps)


def study_url(base: str, study: str) -> str:
    """Return the URL of a study (PS3.18 10.1, W-201)."""
    return f"{base}/studies/{study}"


def series_url(base: str, study: str, series: str) -> str:
    """Return the URL of a series (PS3.18 10.1, W-209)."""
    return f"{base}/studies/{study}/series/{series}"


def instance_url(base: str, study: str, series: str, instance: str) -> str:
    """Return the URL of an instance (PS3.18 10.1, W-214)."""
    return f"{base}/studies/{study}/series/{series}/instances/{instance}"


def retrieve_url(base: str, study: str, series: str = "", instance: str = "") -> str:
    """Return the Retrieve URL of a study, series or instance, the lowest that is named (PS3.18 10.6.3)."""
    if instance:
        return instance_url(base, study, series, instance)
    return series_url(base, study, series) if series else study_url(base, study)


_PLURAL = {"study": "studies", "series": "series", "instance": "instances"}


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", lambda m: f"(?P<{m[1]}>{'.+' if m[1] == 'value' else '[^/]+'})", path))


_PATTERNS = tuple(
    (
        template,
        _pattern(template.path),
        "" if template.path.endswith("}") else template.path.rpartition("/")[2],
    )
    for template in TEMPLATES
)
assert {name for template in TEMPLATES for name in re.findall(r"\{(\w+)\}", template.path)} <= {
    field.name for field in fields(Resource)
}
