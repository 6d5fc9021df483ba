"""The interface described, for programs (`/openapi.json`, OpenAPI 3.1) and for people (`/docs`).

There is one source, openapi/openapi.yaml. The page is made of it here and loads nothing: its style and script
stand in it and are named by their digests in the Content-Security-Policy, so that nothing else can run.
"""

import base64
import hashlib
import html
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from string import Template
from typing import Any, TypeAlias

import orjson
from starlette.requests import Request
from starlette.responses import Response

from dicomweb.web import bodies
from dicomweb.web.addresses import Addresses
from dicomweb.web.threads import hop_index

Node: TypeAlias = dict[str, Any]

METHODS = ("get", "put", "post", "delete", "options")
EXAMPLE_ROOT = "http://localhost:8080"
"""What stands for the server's root in the source; clients read their own there."""
_OWN = "http://root.invalid"
"""What stands for it, with a host or without, in what is made of the source."""

_PAGES = Path(__file__).parent / "pages"
# A built package has a copy beside the page; a checkout has the folder at its top.
_SOURCES = (_PAGES / "openapi.yaml", Path(__file__).parents[2] / "openapi" / "openapi.yaml")
_POLICY = (
    "default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'"
)


async def document(request: Request) -> Response:
    """GET /openapi.json: the description for programs."""
    return await hop_index(_document, request)


async def page(request: Request) -> Response:
    """GET /docs: the description for people."""
    return await hop_index(_page, request)


def _document(request: Request) -> Response:
    return bodies.document(request, write_document(_root(request)), "application/json")


def _page(request: Request) -> Response:
    text, policy = write_page(_root(request))
    fields = [(b"content-security-policy", policy.encode())]
    return bodies.document(request, text, "text/html; charset=utf-8", fields=fields)


def _root(request: Request) -> str:
    addresses: Addresses = request.app.state.addresses
    return addresses.root(request.scope)


@lru_cache(maxsize=1)
def _document_of_anybody() -> bytes:
    """The source as JSON, with `_OWN` for the server's root."""
    import yaml  # only who asks for the description pays for reading it

    path = next(path for path in _SOURCES if path.is_file())
    described: Node = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    described["servers"][0]["url"] = _OWN
    return orjson.dumps(described)


def write_document(root: str) -> bytes:
    """Return the description as JSON.

    Args:
        root: the server's root as the client writes it, without trailing slash; the examples begin with it
            unless it has no host.
    """
    return _put(_document_of_anybody(), root or "/", _examples(root), lambda text: orjson.dumps(text)[1:-1])


def write_page(root: str) -> tuple[bytes, str]:
    """Return the page, and the Content-Security-Policy that it is to go out with.

    Args:
        root: as for `write_document`.
    """
    text, policy = _page_of_anybody()
    return _put(text, root, _examples(root), lambda text: html.escape(text).encode()), policy


def _examples(root: str) -> str:
    return root if "://" in root else EXAMPLE_ROOT


def _put(text: bytes, own: str, examples: str, write: Callable[[str], bytes]) -> bytes:
    """Put roots in, which takes a hundredth of what making the text does: whoever asks by ever other addresses, or
    below links that nobody made, has nothing made."""
    return text.replace(EXAMPLE_ROOT.encode(), write(examples)).replace(_OWN.encode(), write(own))


@lru_cache(maxsize=1)
def _page_of_anybody() -> tuple[bytes, str]:
    """The page with `_OWN` for the server's root, and its policy."""
    described: Node = orjson.loads(_document_of_anybody())
    template, style, script = (
        (_PAGES / name).read_text(encoding="utf-8") for name in ("docs.html", "docs.css", "docs.js")
    )
    info = described["info"]
    groups = _groups(described)
    text = Template(template).substitute(
        title=html.escape(info["title"]),
        version=html.escape(info["version"]),
        summary=html.escape(info["summary"]),
        about=write_prose(info["description"]),
        document=f"{_OWN}/openapi.json",
        navigation="".join(_write_links(*group) for group in groups),
        operations="".join(_write_group(described, *group) for group in groups),
        schemas="".join(_write_schema(name, node) for name, node in described["components"]["schemas"].items()),
        headers=_write_headers(described["components"]["headers"]),
        style=style,
        script=script,
    )
    return text.encode(), _POLICY.format(style=_digest(style), script=_digest(script))


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def resolve(described: Node, node: Node) -> Node:
    """Follow a reference within the description (RFC 6901); what is none is returned as it is."""
    while "$ref" in node:
        target: Any = described
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


def operations(described: Node) -> Iterator[tuple[str, str, Node, list[Node]]]:
    """Yield path, method, operation and parameters (those of the path first, references followed) of every
    operation."""
    for path, item in described["paths"].items():
        for method in METHODS:
            if method in item:
                found = [*item.get("parameters", []), *item[method].get("parameters", [])]
                yield path, method, item[method], [resolve(described, one) for one in found]


_Operation: TypeAlias = tuple[str, str, Node, list[Node]]


def _groups(described: Node) -> list[tuple[Node, list[_Operation]]]:
    listed = list(operations(described))
    return [(tag, [one for one in listed if one[2]["tags"] == [tag["name"]]]) for tag in described["tags"]]


# -- the page -----------------------------------------------------------------------------------------------
def _group_id(tag: Node) -> str:
    return "group-" + re.sub(r"[^a-z]+", "-", tag["name"].lower())


def _write_links(tag: Node, members: list[_Operation]) -> str:
    items = "".join(
        f'<li><a href="#{operation["operationId"]}">{html.escape(operation["summary"])}</a></li>'
        for _, _, operation, _ in members
    )
    return f'<div id="list-{_group_id(tag)}"><h2>{html.escape(tag["name"])}</h2><ul>{items}</ul></div>'


def _write_group(described: Node, tag: Node, members: list[_Operation]) -> str:
    inside = "".join(_write_operation(described, *one) for one in members)
    return (
        f'<section class="group" id="{_group_id(tag)}"><h2>{html.escape(tag["name"])}</h2>'
        f'<div class="lead">{write_prose(tag["description"])}</div>{inside}</section>'
    )


def _write_operation(described: Node, path: str, method: str, operation: Node, params: list[Node]) -> str:
    body = [write_prose(operation.get("description", ""))]
    body.append(f'<h4>Example</h4><div class="curl">{_write_code(operation["x-curl"].strip())}</div>')
    if params:
        rows = ["".join(_write_parameter(one)) for one in params]
        body.append("<h4>Parameters</h4>" + _write_table("Parameters", ("Name", "In", "Meaning"), rows))
    if "requestBody" in operation:
        sent = resolve(described, operation["requestBody"])
        body.append(f"<h4>Request body</h4>{_write_types(sent['content'])}{write_prose(sent.get('description', ''))}")
    rows = [
        _write_response(described, status, resolve(described, response))
        for status, response in operation["responses"].items()
    ]
    body.append("<h4>Answers</h4>" + _write_table("Answers", ("Status", "Meaning", "Media types and headers"), rows))
    return (
        f'<details class="operation" id="{operation["operationId"]}"><summary><h3>'
        f'<span class="method {method}">{method.upper()}</span> <code>{html.escape(path)}</code></h3>'
        f'<span class="what">{html.escape(operation["summary"])}</span></summary>'
        f'<div class="body">{"".join(body)}</div></details>'
    )


def _write_table(label: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table></div>"
    )


def _write_parameter(one: Node) -> Iterator[str]:
    needed = ' <span class="note">required</span>' if one.get("required") and one["in"] != "path" else ""
    yield f'<th scope="row"><code>{html.escape(one["name"])}</code>{needed}</th><td>{one["in"]}</td><td>'
    yield write_prose(one["description"])
    notes = []
    if "default" in one["schema"]:
        notes.append(f"default {_write_value(one['schema']['default'])}")
    if "example" in one:
        notes.append(f"for example {_write_value(one['example'])}")
    yield f'<p class="note">{"; ".join(notes)}</p></td>' if notes else "</td>"


def _write_value(value: Any) -> str:
    if isinstance(value, dict):
        text = "&".join(f"{name}={one}" for name, one in value.items())
    elif isinstance(value, list):
        text = ",".join(value)
    else:
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"<code>{html.escape(text)}</code>"


def _write_response(described: Node, status: str, response: Node) -> str:
    content = response.get("content", {})
    cells = [_write_types(content)]
    names = ", ".join(f"<code>{html.escape(name)}</code>" for name in response.get("headers", {}))
    if names:
        cells.append(f'<p class="note">{names}</p>')
    examples = [one["example"] for one in content.values() if "example" in one]
    shown = "".join(f"<details><summary>Example</summary>{_write_json(one)}</details>" for one in examples)
    return (
        f'<th scope="row">{status}</th><td>{write_prose(response["description"])}{shown}</td><td>{"".join(cells)}</td>'
    )


def _write_types(content: Node) -> str:
    items = "".join(
        f"<li><code>{html.escape(kind)}</code>{_write_links_to(node)}</li>" for kind, node in content.items()
    )
    return f'<ul class="types">{items}</ul>' if items else '<p class="note">no body</p>'


def _write_links_to(media: Node) -> str:
    schema = media.get("schema", {})
    names = [one.get("$ref", "").rpartition("/")[2] for one in (schema, schema.get("items", {}))]
    return "".join(f' <a href="#schema-{name}">{name}</a>' for name in names if name and name not in {"Bytes", "Parts"})


def _write_headers(headers: Node) -> str:
    rows = [
        f'<th scope="row"><code>{html.escape(name)}</code></th><td>{write_prose(one["description"])}</td>'
        for name, one in headers.items()
    ]
    return _write_table("Header fields", ("Name", "Meaning"), rows)


def _write_schema(name: str, node: Node) -> str:
    rest = {key: value for key, value in node.items() if key != "description"}
    return (
        f'<details id="schema-{name}"><summary><h3><code>{name}</code></h3></summary>'
        f'<div class="body">{write_prose(node.get("description", ""))}{_write_json(rest)}</div></details>'
    )


def _write_json(value: Any) -> str:
    return _write_code(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _write_code(text: str) -> str:
    return f'<pre tabindex="0"><code>{html.escape(text)}</code></pre>'


def write_prose(text: str) -> str:
    """Write the little of CommonMark that the source uses as HTML: paragraphs, lists with hyphens, code, bold."""
    return "".join(_write_block(block) for block in _split(text))


def _split(text: str) -> Iterator[list[str]]:
    """Yield blocks: lines of a paragraph, or of one list; a list may follow a paragraph directly."""
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = line.startswith("- ") and bool(block) and not block[0].startswith("- ")
        if block and (begins or not line.strip()):
            yield block
            block = []
        if line.strip():
            block.append(line)


def _write_block(lines: list[str]) -> str:
    if not lines[0].startswith("- "):
        return f"<p>{_write_words(' '.join(lines))}</p>"
    items = re.split(r"(?m)^- ", "\n".join(lines))[1:]
    return "<ul>" + "".join(f"<li>{_write_words(' '.join(item.split()))}</li>" for item in items) + "</ul>"


def _write_words(text: str) -> str:
    pieces = re.split(r"`([^`]*)`", text)
    return "".join(
        f"<code>{html.escape(piece)}</code>" if number % 2
        else re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html.escape(piece, quote=False))
        for number, piece in enumerate(pieces)
    )  # fmt: skip
