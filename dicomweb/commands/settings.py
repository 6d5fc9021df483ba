"""`roentgate config`."""

import argparse
import shutil
import sys
from typing import Any

from dicomweb.commands.terminal import show_json, show_table
from dicomweb.config import GROUPS, Config
from dicomweb.settings import Setting


def run(config: Config, args: argparse.Namespace) -> int:
    """Print every setting, its value, and where it came from."""
    if args.json:
        show_json(
            {
                spec.name: {"value": text, "origin": origin, "variable": spec.variable, "meaning": spec.doc}
                for spec, text, origin in config.shown()
            }
        )
    elif args.toml:
        print(write_toml(config), end="")
    else:
        columns = ("setting", "value", "from", "meaning")
        rows = [(spec.name, text, origin, spec.doc) for spec, text, origin in config.shown()]
        shown = 4 if shutil.get_terminal_size().columns >= 120 or not sys.stdout.isatty() else 3
        show_table("", columns[:shown], [row[:shown] for row in rows])
    for notice in config.notices if not args.json else ():
        print(f"Note: {notice}")
    return 0


def write_toml(config: Config) -> str:
    """The settings as a TOML file: those that were given as they are, the others as comments. Secrets are
    left
    out: they belong in the environment."""
    lines: list[str] = []
    group = ""
    for spec, text, origin in config.shown():
        if spec.group != group:
            group = spec.group
            lines += ["", f"# -- {GROUPS[group]}"]
        value = getattr(config, spec.name)
        lines += [f"# {spec.doc}"]
        hidden = spec.holds_secret(value)
        said = f"{spec.name} = {_toml(spec, text if hidden else value)}"
        lines.append(said if origin != "default" and not hidden else f"# {said}")
    return "\n".join(lines).strip() + "\n"


def _toml(spec: Setting, value: Any) -> str:
    if spec.kind is bool:
        return "true" if value else "false"
    if spec.kind is tuple:
        return f"[{', '.join(_quote(each) for each in value)}]"
    return spec.show(value) if spec.kind in {int, float} else _quote(str(value))


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
