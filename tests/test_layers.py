"""Imports point down; third-party packages stay at home; pure parts touch nothing of the world."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for top in ("dicomweb", "bridge") for path in (ROOT / top).rglob("*.py"))

# Who stands where: a module imports from layers below its own, or from its own package.
LAYERS = {
    "dicomweb.errors": 0,
    "dicomweb.deflate": 0,
    "dicomweb.memory": 0,
    "dicomweb.jobs": 1,
    "dicomweb.settings": 1,
    "dicomweb.config": 2,
    "dicomweb.access": 1,
    "dicomweb.telemetry": 0,
    "dicomweb.standard": 1,
    "dicomweb.storage": 2,
    "dicomweb.index": 2,
    "dicomweb.imaging": 2,
    "dicomweb.workshop": 2,
    "dicomweb.viewers": 2,
    "dicomweb.archive": 3,
    "dicomweb.web": 4,
    "dicomweb.app": 5,
    "dicomweb.first": 0,
    "dicomweb.http1": 0,
    "dicomweb.connection": 1,
    "dicomweb.wire": 2,
    "dicomweb.turns": 0,
    "dicomweb.launch": 6,
    "dicomweb.workers": 7,
    "dicomweb.commands": 8,
    "dicomweb.cli": 8,
    "dicomweb.__main__": 8,
}
# Settings are handed over as values: only these see the whole Config.
SEES_CONFIG = {"archive", "web", "app", "launch", "workers", "commands", "cli"}
BRIDGE_MAY = ("dicomweb.standard", "dicomweb.errors", "dicomweb.jobs", "dicomweb.telemetry", "bridge")

HOMES = {
    "starlette": ("dicomweb.web", "dicomweb.app", "bridge.inside"),
    "boto3": ("dicomweb.storage",),
    "botocore": ("dicomweb.storage",),
    "psycopg": ("dicomweb.index",),
    "psycopg_pool": ("dicomweb.index",),
    "sqlite3": ("dicomweb.index", "bridge.ledger"),
    "pynetdicom": ("bridge",),
    "urllib3": ("bridge", "dicomweb.web.bridge", "dicomweb.access.issuer"),
    "pydicom": ("dicomweb.standard", "bridge"),
    "numpy": ("dicomweb.imaging",),
    "isal": ("dicomweb.deflate",),
    "imagecodecs": ("dicomweb.imaging",),
    "PIL": ("dicomweb.imaging",),
    "openjpeg": ("dicomweb.imaging",),
    "rle": ("dicomweb.imaging",),
    "av": ("dicomweb.imaging",),
    "hypercorn": ("dicomweb.launch", "dicomweb.wire", "bridge.work"),
    "h2": ("dicomweb.wire",),
    "prometheus_client": ("dicomweb.telemetry.exposition",),
    "uvicorn": ("dicomweb.launch",),
    "uvloop": ("dicomweb.launch",),
    "rich": ("dicomweb.commands",),
    "defusedxml": ("dicomweb.standard",),
    "joserfc": ("dicomweb.access",),
    "cryptography": ("dicomweb.telemetry.certificates",),
}
WORLD = {
    "os",
    "pathlib",
    "socket",
    "time",
    "random",
    "secrets",
    "uuid",
    "subprocess",
    "tempfile",
    "shutil",
}
WORLD |= {"sqlite3", "asyncio", "threading", "multiprocessing", "logging", "sys", "http", "urllib.request"}


def name_of(path: Path) -> str:
    """`dicomweb/web/stow.py` is dicomweb.web.stow; a package's `__init__.py` is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it; `from a import b` is a.b if that is a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            module = str(node.module)
            for alias in node.names:
                below = ROOT.joinpath(*module.split("."), alias.name)
                is_module = below.with_suffix(".py").exists() or below.is_dir()
                yield f"{module}.{alias.name}" if is_module else module


def under(name: str, tops: tuple[str, ...]) -> bool:
    return any(name == top or name.startswith(top + ".") for top in tops)


def layer_of(name: str) -> int | None:
    return next((layer for top, layer in LAYERS.items() if under(name, (top,))), None)


def package_of(name: str) -> str:
    return ".".join(name.split(".")[:2])


IDS = [name_of(path) for path in SOURCES]


def test_every_module_has_its_layer():
    known = {"dicomweb", "bridge"}
    assert [name for name in IDS if name not in known and name.startswith("dicomweb") and layer_of(name) is None] == []


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_imports_point_down(path):
    name = name_of(path)
    for imported in imports(path):
        if not under(imported, ("dicomweb", "bridge")):
            continue
        if name.startswith("bridge"):
            assert under(imported, BRIDGE_MAY), f"{name} imports {imported}"
            continue
        if imported == "dicomweb" or package_of(imported) == package_of(name):
            continue
        if under(imported, ("bridge",)):
            assert under(name, ("dicomweb.commands",)), f"{name} imports {imported}"
            continue
        if under(imported, ("dicomweb.config",)):
            assert name.split(".")[1] in SEES_CONFIG, f"{name} imports {imported}"
        below, own = layer_of(imported), layer_of(name)
        assert below is not None, f"{name} imports {imported}, which has no layer"
        assert own is not None, f"{name} has no layer"
        assert below < own or (below == own and own == 8), f"{name} imports {imported}"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_third_party_packages_stay_at_home(path):
    name = name_of(path)
    for imported in imports(path):
        home = HOMES.get(imported.split(".")[0])
        assert home is None or under(name, home), f"{name} imports {imported}, whose home is {home}"


@pytest.mark.parametrize(
    "path",
    [path for path in SOURCES if under(name_of(path), ("dicomweb.standard", "dicomweb.index.search", "dicomweb.jobs"))],
)
def test_pure_parts_import_nothing_that_touches_the_world(path):
    touched = {each for each in imports(path) if each in WORLD or each.split(".")[0] in WORLD}
    assert touched == set()


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_only_the_command_line_reads_the_environment(path):
    read = re.findall(r"os\.(?:environ|getenv)", path.read_text())
    assert not read or name_of(path) in {"dicomweb.cli", "dicomweb.config"}, "hand the value over instead"


@pytest.mark.parametrize("path", SOURCES, ids=IDS)
def test_every_module_says_which_idea_it_owns(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", sorted((ROOT / "dicomweb" / "standard").glob("*.py")), ids=lambda path: path.stem)
def test_functions_that_say_what_the_standard_says_cite_a_clause(path):
    public = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    silent = [node.name for node in public if not re.search(r"PS3\.\d|RFC \d", ast.get_docstring(node) or "")]
    assert silent == []
