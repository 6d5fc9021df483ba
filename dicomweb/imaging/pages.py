"""A page for people: one HTML document that needs nothing else, and in which nothing of an object is markup
(PS3.18 8.7.4, A18).

The style is inside the page and named by its digest in `POLICY`, so that nothing else can be applied and no
script can run, whatever the text says.
"""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping
from typing import Any

from dicomweb.imaging import readable
from dicomweb.standard import dicomjson

STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5b6675;--line:#d9dfe6;--paper:#fff;--ground:#f3f5f8;--tint:#f7f9fb;
--link:#0b5cad;--good:#176b3a;--care:#8a5200}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9aa6b5;--line:#343d49;--paper:#171c23;--ground:#0f1318;
--tint:#1d242d;--link:#7db8f5;--good:#6fcf97;--care:#f0b35a}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,"Segoe UI","Helvetica Neue",Arial,
"Noto Sans",sans-serif;overflow-wrap:anywhere}
main{max-width:60rem;margin:0 auto;padding:1.5rem 2rem 3rem;background:var(--paper);min-height:100vh}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 .4rem}
h2,h3,h4,h5,h6{line-height:1.3;margin:1.6rem 0 .5rem}
h2{font-size:1.25rem;border-bottom:2px solid var(--line);padding-bottom:.2rem}
h3{font-size:1.08rem}h4,h5,h6{font-size:1rem;color:var(--soft)}
section section{padding-left:.9rem;border-left:2px solid var(--line);margin-left:.1rem}
.who{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.9rem 2rem;margin:1rem 0 1.5rem;
padding:.9rem 1.1rem;background:var(--tint);border:1px solid var(--line);border-radius:.4rem}
.who h2{font-size:.8rem;text-transform:uppercase;letter-spacing:.05em;color:var(--soft);border:0;margin:0 0 .2rem;
padding:0}
.who p{margin:0}.who .first{font-weight:600;font-size:1.08rem}
.marks{display:flex;flex-wrap:wrap;gap:.4rem;margin:.3rem 0;padding:0;list-style:none}
.marks li{font-size:.82rem;border:1px solid currentColor;border-radius:1rem;padding:0 .6rem;color:var(--soft)}
.marks .good{color:var(--good)}.marks .care{color:var(--care)}
dl{display:grid;grid-template-columns:minmax(8rem,16rem) 1fr;gap:.25rem 1.2rem;margin:.5rem 0}
dt{color:var(--soft)}dd{margin:0;min-width:0}dd>dl{margin:.1rem 0 .3rem;grid-template-columns:minmax(6rem,12rem) 1fr}
dd dl{font-size:.92em}dd dl dl,.soft .soft{font-size:1em}
p{margin:.4rem 0}.text{white-space:pre-line}
.soft{color:var(--soft);font-size:.88em}.id{font-family:ui-monospace,Consolas,monospace;font-size:.82em;color:var(--soft)}
b.num{font-weight:600;font-variant-numeric:tabular-nums}
a{color:var(--link)}a:focus-visible,summary:focus-visible{outline:2px solid var(--link);outline-offset:2px}
ul{margin:.4rem 0;padding-left:1.3rem}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line);min-width:4.5rem}
th{color:var(--soft);font-weight:600;border-bottom:2px solid var(--line)}
tbody tr:nth-child(even){background:var(--tint)}
details{margin:.5rem 0}summary{cursor:pointer;color:var(--soft)}
.sheet td:nth-child(-n+2),.sheet th:nth-child(-n+2){min-width:0}.sheet td.id{white-space:nowrap}
.sheet th{white-space:nowrap}
.sheet td details td{font-size:.95em}
footer{margin-top:2.5rem;padding-top:.6rem;border-top:1px solid var(--line);color:var(--soft);font-size:.8rem}
@media(max-width:40rem){main{padding:1rem}dl,dd>dl{grid-template-columns:1fr;gap:0 0}dd{margin:0 0 .5rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--paper:#fff;--ground:#fff;--tint:#fff;--link:#000;--good:#000;
--care:#000}body{font-size:10.5pt}main{max-width:none;padding:0}h2,h3,h4,h5,h6,summary{break-after:avoid}
tr,.who,dt{break-inside:avoid}thead{display:table-header-group}a{text-decoration:none}.scroll{overflow:visible}}
"""

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
"""The Content-Security-Policy under which a page shows all that it has."""


def escape(text: str) -> str:
    """Return text for HTML, in an element or in a quoted attribute; see also `readable.clean`."""
    return html.escape(readable.clean(text), quote=True)


def value(text: str) -> str:
    """Return one value of an object for HTML, its direction of writing kept to itself."""
    escaped = escape(text)
    return escaped if text.isascii() else f"<bdi>{escaped}</bdi>"


def page(title: str, body: Iterable[str], language: str = "en") -> bytes:
    """Return a whole HTML document in UTF-8.

    Args:
        title: plain text.
        body: HTML, in pieces.
        language: of the body (RFC 5646).
    """
    head = (
        f'<!DOCTYPE html>\n<html lang="{escape(language)}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
    )
    return "".join((head, *body, "\n</main></body></html>\n")).encode()


def header(dataset: Mapping[str, Any], title: str, marks: Iterable[tuple[str, str]] = ()) -> str:
    """Return the head of a page: what it is, whose, of which study.

    Args:
        dataset: DICOM JSON model.
        title: plain text.
        marks: words about the state of the object, each with "good", "care" or "".
    """
    listed = "".join(f'<li class="{kind}">{escape(word)}</li>' for word, kind in marks)
    blocks = "".join(_block(name, lines) for name, lines in facts(dataset) if lines)
    return (
        f"<header><h1>{value(title)}</h1>{f'<ul class=marks>{listed}</ul>' if listed else ''}"
        f'<div class="who">{blocks}</div></header>\n'
    )


def _block(name: str, lines: list[str]) -> str:
    first, *rest = lines
    below = "".join(f"<p>{value(line)}</p>" for line in rest)
    return f'<div><h2>{name}</h2><p class="first">{value(first)}</p>{below}</div>'


def grid(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table.

    Args:
        names: of the columns, plain text.
        rows: cells in HTML.
    """
    head = "".join(f"<th>{value(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n'


def facts(dataset: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return what identifies an object to a person: patient, study, series, in lines of plain text."""
    text = dicomjson.text
    born, sex = readable.date(text(dataset, "00100030")), readable.sex(text(dataset, "00100040"))
    years = readable.age(text(dataset, "00101010"))
    issuer = readable.clean(text(dataset, "00100021"))
    identity = readable.clean(text(dataset, "00100020"))
    patient = [
        readable.people(dataset, "00100010") or "No name",
        f"ID {identity}{f' ({issuer})' if issuer else ''}" if identity else "",
        ", ".join(part for part in (sex, f"born {born}" if born else "", years) if part),
    ]
    accession = readable.clean(text(dataset, "00080050"))
    referring = readable.people(dataset, "00080090")
    study = [
        readable.clean(text(dataset, "00081030")) or "Study",
        readable.together(dataset, "00080020", "00080030"),
        f"Accession {accession}" if accession else "",
        f"Referred by {referring}" if referring else "",
    ]
    number = readable.number(next(iter(dicomjson.values(dataset, "00200011")), ""))
    made = " ".join(part for part in (text(dataset, "00080070"), text(dataset, "00081090")) if part)
    series = [
        readable.clean(text(dataset, "0008103E")) or f"{readable.clean(text(dataset, '00080060'))} series".strip(),
        f"Series {number}" if number else "",
        readable.clean(text(dataset, "00080080")),
        readable.clean(made),
    ]
    blocks = (("Patient", patient), ("Study", study), ("Series", series))
    return [(name, [line for line in lines if line]) for name, lines in blocks]
