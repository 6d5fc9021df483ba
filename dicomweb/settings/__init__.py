"""What a setting is: a field with its own words and bounds, read from text or TOML, shown without secrets.

`config` says which settings there are.
"""

import dataclasses
import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dicomweb.errors import BadSetting

PREFIX = "ROENTGATE_"
"""How its name begins in the environment."""

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

_SIZES = {"": 1, "b": 1, "k": KIB, "kib": KIB, "m": MIB, "mib": MIB, "g": GIB, "gib": GIB, "t": GIB << 10}
_SIZES |= {"tib": GIB << 10, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}


def setting(
    default: object,
    group: str,
    doc: str,
    *,
    shown: str | None = None,
    least: float | None = None,
    most: float | None = None,
    secret: bool = False,
) -> Any:
    """A field of Config with what belongs to it.

    Args:
        default: what holds when nobody says anything; one that stands for a rule (0 or "") is replaced when
            the object is made.
        group: the heading under which it stands.
        doc: one sentence for people, Markdown.
        shown: the default in words, where the value itself does not say it.
        least, most: bounds of a number, ends included.
        secret: never shown.
    """
    metadata = {
        "group": group, "doc": doc, "shown": shown, "least": least, "most": most, "secret": secret,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """One setting: what `Config` says about a field.

    Attributes:
        name: of the field, and in `roentgate.toml`.
        kind: str, int, float, bool, Path or tuple (of str).
        default: as its class says, before rules are applied.
        choices: the only values allowed, where there are few.
        group, doc, shown, least, most, secret: as given to `setting`.
    """

    name: str
    kind: type
    default: Any
    choices: tuple[Any, ...]
    group: str
    doc: str
    shown: str | None
    least: float | None
    most: float | None
    secret: bool

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return PREFIX + self.name.upper()

    @property
    def default_text(self) -> str:
        """The default for people, Markdown."""
        return self.shown or f"`{self.show(self.default)}`"

    def read(self, value: object, where: str) -> Any:
        """Turn text, or a value of a TOML file, into the field's type. Sizes may carry a unit (`512 MiB`).

        Args:
            value: text, or what TOML has: bool, int, float or list.
            where: names the place in the error.

        Raises:
            BadSetting: it does not fit.
        """
        try:
            return self._convert(value)
        except ValueError as error:
            wanted = {
                bool: "true or false",
                int: "a size such as 1048576 or 1 MiB" if self.name.endswith("_bytes") else "a whole number",
                float: "a number",
                tuple: "a list, or words separated by commas",
            }.get(self.kind, "text")
            given = "what was given" if self.secret else repr(value)
            raise BadSetting(f"{where} should be {wanted}, and {given} is not.") from error

    def _convert(self, value: object) -> Any:
        if self.kind is bool:
            return value if isinstance(value, bool) else _read_bool(str(value))
        if isinstance(value, bool):
            raise ValueError("a truth value")
        if self.kind is int:
            if isinstance(value, int):
                return value
            text = str(value).strip().replace("_", "")
            return _read_size(text) if self.name.endswith("_bytes") else int(text)
        if self.kind is float:
            return float(str(value))
        if self.kind is tuple:
            parts = value if isinstance(value, list | tuple) else re.split(r"[,\s]+", str(value))
            return tuple(str(part).strip() for part in parts if str(part).strip())
        if not isinstance(value, str | Path):
            raise ValueError("no text")
        return Path(value) if self.kind is Path else str(value).strip()

    def check(self, value: Any) -> None:
        """Raise BadSetting if the value is of the right type but out of bounds."""
        if self.choices and value not in self.choices:
            allowed = " or ".join(str(choice) for choice in self.choices)
            raise BadSetting(f"{self.name} is {value}; it can be {allowed}.")
        if self.least is not None and not value >= self.least:
            raise BadSetting(f"{self.name} is {value}; the least is {self.least}.")
        if self.most is not None and not value <= self.most:
            raise BadSetting(f"{self.name} is {value}; the most is {self.most}.")

    def holds_secret(self, value: Any) -> bool:
        """Whether the value holds something that `show` masks."""
        return self.show(value) != _plain(value)

    def show(self, value: Any) -> str:
        """The value as text, secrets and passwords in URLs masked."""
        if self.secret and value:
            return "***"
        text = _plain(value)
        return mask(text) if "://" in text else text


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(value) if isinstance(value, tuple) else str(value)


def mask(url: str) -> str:
    """Hide the password of a URL, in the authority and in the query."""
    parts = urlsplit(url)
    authority = re.sub(r":[^:@]*@", ":***@", parts.netloc)
    query = re.sub(r"(?i)(password|secret|token)=[^&]*", r"\1=***", parts.query)
    return urlunsplit(parts._replace(netloc=authority, query=query))


def _read_bool(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError(text)


def _read_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([A-Za-z]*)", text)
    if match is None or match[2].lower() not in _SIZES:
        raise ValueError(text)
    return int(match[1]) * _SIZES[match[2].lower()]


def write_unknown(where: str, name: str, known: list[str]) -> str:
    """The sentence about a name that is no setting; `known` are all that are, spelled alike."""
    start = PREFIX if name.startswith(PREFIX) else ""
    bare = {each.removeprefix(start).lower(): each for each in known}
    near = difflib.get_close_matches(name.removeprefix(start).lower(), list(bare), 1, 0.6)
    hint = f"did you mean {bare[near[0]]}?" if near else "`roentgate config` lists what there is."
    return f"{where} {name}, which is no setting; {hint}"
