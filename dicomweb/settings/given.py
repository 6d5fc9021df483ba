"""What was said about settings: in a file, in the environment, on the command line. What is taken later holds.

What holds a secret may lie in a file of its own, as Kubernetes mounts it: `ROENTGATE_BRIDGE_TOKEN_FILE` names the one
whose text is `bridge_token`.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dicomweb.errors import BadSetting
from dicomweb.settings import PREFIX, Setting, write_unknown

FILE = "ROENTGATE_CONFIG"
"""Names another file than `roentgate.toml` in the current folder."""

_RESERVED = "ROENTGATE_TEST_"
"""Names that begin like this belong to the tests and are passed over."""
_FILED = "_FILE"


@dataclass
class Given:
    """What was said so far.

    Attributes:
        known: settings by name.
        values: of those that were given, by name.
        origins: where each was given.
        files: in which file a secret stands that may change while we run.
        notices: sentences for the log.
    """

    known: Mapping[str, Setting]
    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def take_file(self, path: Path) -> None:
        """Take a TOML file with one `name = value` per setting.

        Raises:
            BadSetting: it cannot be read, has an unknown name, or a value that does not fit; so do the others.
        """
        for name, value in _read_toml(path).items():
            if name not in self.known:
                raise BadSetting(write_unknown(f"{path} has", name, list(self.known)))
            self._take(name, value, f"{name} in {path}", str(path))
            if self.known[name].holds_secret(self.values[name]) and path.stat().st_mode & 0o044:
                self.notices.append(f"{path} holds the secret {name} and other users of this machine can read it.")

    def take_environment(self, environ: Mapping[str, str], in_files: Collection[str]) -> None:
        """Take variables whose names begin with `ROENTGATE_`.

        Args:
            environ: of the process.
            in_files: settings of which a variable `ROENTGATE_X_FILE` may name a file.
        """
        for variable, text in environ.items():
            if not variable.startswith(PREFIX) or variable.startswith(_RESERVED) or variable == FILE:
                continue
            name = variable.removeprefix(PREFIX).removesuffix(_FILED).lower()
            filed = variable.endswith(_FILED) and name in in_files
            if not filed:
                name = variable.removeprefix(PREFIX).lower()
            if name not in self.known or variable != variable.upper():
                raise BadSetting(
                    write_unknown("the environment has", variable, [each.variable for each in self.known.values()])
                )
            if filed and self.known[name].variable in environ:
                raise BadSetting(f"the environment has both {self.known[name].variable} and {variable}: keep one.")
            if filed:
                self.files[name] = Path(os.path.abspath(text))
                text = read_secret(self.files[name], variable)
            self._take(name, text, variable, variable)

    def take_options(self, options: Mapping[str, object]) -> None:
        """Take options of the command line by name; None values do not count."""
        for name, value in options.items():
            if value is not None:
                self._take(name, value, f"--{name.replace('_', '-')}", "command line")
                self.files.pop(name, None)

    def _take(self, name: str, value: object, where: str, origin: str) -> None:
        self.values[name] = self.known[name].read(value, where)
        self.origins[name] = origin


def read_secret(path: Path, where: str) -> str:
    """Return the text of a file that holds one secret, without the line's end.

    Args:
        path: of the file.
        where: names what pointed to it, in the error.

    Raises:
        BadSetting: it cannot be read, or nothing is in it.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise BadSetting(f"{where} names {path}, which cannot be read: {why}.") from error
    if not text:
        raise BadSetting(f"{where} names {path}, in which nothing is.")
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"{path} is not TOML: {error}.") from error
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}.") from error
