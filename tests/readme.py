"""The parts of documents that are made from the code: README's tables of settings and map of modules, and the tables of
the conformance statement.

`python tests/readme.py` (or `make readme`) writes them; `test_readme.py` fails when they have drifted.
"""

import ast
import re
from pathlib import Path

from chart import CHART, SCHEMA, write_schema, write_values
from conformance import tables

from dicomweb.config import write_table

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CONFORMANCE = ROOT / "docs" / "conformance.md"
_WIDTH = 110


def write_map() -> str:
    """Every module and the idea that it owns, in the words with which its docstring begins."""
    lines = ["```text"]
    for top in ("dicomweb", "bridge"):
        lines.append(f"{top}/")
        lines += _modules(ROOT / top, 1)
    return "\n".join([*lines, "```"]) + "\n"


def _modules(folder: Path, depth: int) -> list[str]:
    lines = []
    indent = "  " * depth
    for path in sorted(folder.glob("*.py")):
        if path.stem != "__init__":
            lines.append(_line(indent + path.name, path))
    for below in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        lines.append(_line(f"{indent}{below.name}/", below / "__init__.py"))
        lines += _modules(below, depth + 1)
    return lines


def _line(name: str, path: Path) -> str:
    words = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    idea = re.split(r"\.(?:\s|$)|;\s", words)[0].rstrip(":")
    line = f"{name:<28}{idea}"
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1].rsplit(" ", 1)[0] + " …"


def made() -> dict[Path, dict[str, str]]:
    """What is made from the code, by the mark where it stands in each document."""
    return {
        README: {"settings": write_table(), "map": write_map()},
        CHART / "README.md": {"values": write_values()},
        CONFORMANCE: tables((ROOT / "openapi" / "openapi.yaml").read_text()),
    }


def fill(text: str, parts: dict[str, str]) -> str:
    """A document with its made parts as they should be."""
    for mark, part in parts.items():
        begin, end = f"<!-- {mark} -->\n", f"<!-- /{mark} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        assert tail, f"a document lacks {begin.strip()} and {end}"
        text = f"{head}{begin}{part}{end}{tail}"
    return text


if __name__ == "__main__":
    for document, parts in made().items():
        document.write_text(fill(document.read_text(), parts))
    SCHEMA.write_text(write_schema())
