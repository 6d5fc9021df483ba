"""The `roentgate` command. Only what `--help` needs is imported here; a subcommand imports its own module,
and what that needs, when it runs.

Exit status: 0 all went well; 1 something was refused, missing or failed; 2 a wrong option or setting; 130
stopped by Ctrl-C.
"""

import argparse
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from dicomweb.config import Config
from dicomweb.errors import BadSetting, Error

OK, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130

_SETTINGS = """
Every setting is a ROENTGATE_ variable or a line of roentgate.toml; options of the command win over both.
`roentgate config` prints what holds and where it came from."""


class _Parser(argparse.ArgumentParser):
    """Errors as one sentence and a hint, instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}. Try `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(WRONG)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    top = _Parser(
        prog="roentgate",
        description="DICOMweb server: store, find and return medical images over HTTP.",
        epilog=f"example:\n  roentgate serve --data ./data\n{_SETTINGS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="store_true", help="print the version and stop")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def add(name: str, module: str, doc: str, more: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=doc,
            description=textwrap.fill(f"{doc[0].upper()}{doc[1:]}. {more}".strip(), 100),
            epilog=f"example:\n  {example}\n{_SETTINGS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(module=module)
        where = sub.add_argument_group("where the archive lies")
        where.add_argument("--config", type=Path, metavar="FILE", help="settings, instead of roentgate.toml")
        where.add_argument("--data", metavar="DIR", help="folder of files and index (default ./data)")
        where.add_argument("--storage", metavar="URL", help="where objects lie: file:, s3://, memory:")
        where.add_argument("--index", metavar="URL", help="where metadata lie: sqlite:, postgresql://")
        return sub

    serve = add(
        "serve", "serve", "run the web server", "It prints its addresses and runs until Ctrl-C.",
        "roentgate serve --http-port 8042 --data /srv/images",
    )  # fmt: skip
    _http(serve)

    bridge = add(
        "bridge", "bridge", "run the DIMSE bridge in front of a DICOMweb server",
        "Devices that speak DIMSE store, find and retrieve there. It runs until Ctrl-C.",
        "roentgate bridge --dicomweb https://pacs.example/dicom-web",
    )  # fmt: skip
    bridge.add_argument("--dicomweb", metavar="URL", help="root of the server's DICOMweb services")
    _dimse(bridge)

    up = add(
        "up", "up", "run the web server and the DIMSE bridge together", "If one stops, both do. Ctrl-C stops both.",
        "roentgate up --data /srv/images",
    )  # fmt: skip
    _http(up)
    _dimse(up)

    imports = add(
        "import", "imports", "store files from disk",
        "PATH is a DICOM file, a folder, a ZIP archive, or the DICOMDIR of a medium. What is there already is"
        " skipped, so an import that was interrupted is run again. Exit status 0 only if all went in.",
        "roentgate import ~/cd /mnt/old-archive exam.zip",
    )  # fmt: skip
    imports.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="what to store")
    imports.add_argument("--workers", dest="threads", type=_positive, default=4, metavar="N", help="threads (4)")
    imports.add_argument(
        "--on-conflict", choices=("refuse", "keep", "replace"),
        help="what to do with other content under a SOP Instance UID that is taken",
    )  # fmt: skip
    _json(imports)

    export = add(
        "export", "export", "copy stored objects out, as the bytes that were received",
        "Into a folder, or into a ZIP archive if the name ends in .zip.",
        "roentgate export --study 1.2.840.113619.2.55.3 --to ./handed-over.zip",
    )  # fmt: skip
    export.add_argument("--study", required=True, metavar="UID", action="append", help="study; may be repeated")
    export.add_argument("--series", metavar="UID", help="only this series")
    export.add_argument("--instance", metavar="UID", help="only this instance")
    export.add_argument("--to", required=True, type=Path, metavar="DIR|ZIP", help="where to")
    _json(export)

    verify = add(
        "verify", "verify", "read every stored object again and compare it with its digest",
        "Finds objects that are missing, changed, or known to no index. Exit status 1 if it finds any.",
        "roentgate verify --data /srv/images",
    )  # fmt: skip
    _json(verify)

    migrate = add(
        "migrate", "migrate", "bring the index up to date, or take the archive to another storage or index",
        "Without options the tables of the index are brought up to date, which a server does by itself when it starts."
        " To move, stop the server first. Objects are compared with their digests on the way, the indexes in the end;"
        " run it again to go on after an interruption. Nothing is removed from where it was.",
        "roentgate migrate --to-storage s3://images --to-index postgresql://roentgate@db/roentgate",
    )  # fmt: skip
    migrate.add_argument("--to-storage", metavar="URL", help="where objects are to lie")
    migrate.add_argument("--to-index", metavar="URL", help="where metadata are to lie")
    _json(migrate)

    reconcile = add(
        "reconcile", "reconcile", "bring an index and objects of different days to agree, as after a restore",
        "What the index does not know is entered from the objects, deletions that it does not know are carried out,"
        " and what has no object is listed. Run it again to go on after an interruption. Exit status 1 if something is"
        " left.",
        "roentgate reconcile --data /srv/images",
    )  # fmt: skip
    _json(reconcile)

    rebuild = add(
        "rebuild-index", "rebuild", "make the index anew from the stored objects alone",
        "Stop the server first. Deletions stay deleted.",
        "roentgate rebuild-index --data /srv/images --yes",
    )  # fmt: skip
    rebuild.add_argument("--yes", action="store_true", help="do not ask")
    _json(rebuild)

    _clients(add)
    _desk(add)

    viewer = add(
        "viewer", "viewer", "install, list or remove viewers that the server offers",
        "A viewer is fetched with npm, or taken from a file that `npm pack` made. A running server has it at once.",
        "roentgate viewer install ohif\n  roentgate viewer install ohif --from ohif-app-3.13.2.tgz --to /srv/viewers",
    )  # fmt: skip
    viewer.add_argument("action", choices=("install", "list", "remove"), help="what to do")
    viewer.add_argument("viewer", nargs="?", metavar="VIEWER", help="which one: ohif")
    viewer.add_argument(
        "--version", dest="release", metavar="X", help="another version than the one we are tested with"
    )
    viewer.add_argument("--from", dest="source", type=Path, metavar="FILE", help="a package that is here already")
    viewer.add_argument("--to", metavar="DIR", help="folder of all viewers, instead of the setting `viewers`")
    _json(viewer)

    _json(add("stats", "stats", "count what the archive holds", "", "roentgate stats --json"))

    _keys(add)
    _shares(add)

    audit = add(
        "audit", "audit", "check the audit trail", "Exit status 1 if a line or file was changed, added or taken out.",
        "roentgate audit verify --data /srv/images",
    )  # fmt: skip
    audit.add_argument("doing", choices=("verify",), metavar="verify", help="check the chains of hashes")
    _json(audit)

    config = add(
        "config", "settings", "print every setting, its value, and where it came from", "Secrets are masked.",
        "roentgate config --toml > roentgate.toml",
    )  # fmt: skip
    config.add_argument("--toml", action="store_true", help="as a file to begin with, every default in a comment")
    _json(config)
    return top


def _keys(add: Callable[..., argparse.ArgumentParser]) -> None:
    """API keys."""
    key = add(
        "key", "keys", "make, list and revoke the API keys by which machines are known", "See the setting access.",
        "roentgate key add viewer --role read --days 365",
    )  # fmt: skip
    doing = key.add_subparsers(dest="doing", metavar="ACTION", required=True, parser_class=_Parser)
    new = doing.add_parser("add", help="make a key; it is shown this once")
    new.add_argument("name", metavar="NAME", help="who will have it; stands in the audit trail")
    new.add_argument(
        "--role",
        action="append",
        required=True,
        choices=("view", "read", "write", "delete", "share", "admin"),
        help="may be repeated",
    )
    new.add_argument("--days", type=float, metavar="N", help="how long it is valid (for ever)")
    new.add_argument(
        "--study", action="append", default=[], metavar="UID", help="nothing but this study; may be repeated"
    )
    new.add_argument(
        "--patient", action="append", default=[], metavar="ID", help="and this patient's (ID or ID^^^ISSUER); repeated"
    )
    new.add_argument(
        "--node", action="append", default=[], metavar="NODE", help="no other node than this; may be repeated"
    )
    revoke = doing.add_parser("revoke", help="make a key worthless")
    revoke.add_argument("name", metavar="NAME|ID", help="of the key")
    for each in (new, revoke, doing.add_parser("list", help="show all keys, but not what they are")):
        _json(each)


def _shares(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Links."""
    share = add(
        "share", "shares", "make, list and revoke links to studies for people who have no key",
        "A link ends when its days are over, when it is revoked, or with the key that made it. See the settings"
        " shares and share_days.", "roentgate share create 1.2.3 --days 3 --passphrase",
    )  # fmt: skip
    doing = share.add_subparsers(dest="doing", metavar="ACTION", required=True, parser_class=_Parser)
    new = doing.add_parser("create", help="make a link; it is shown this once")
    new.add_argument("study", metavar="UID", help="where it leads")
    new.add_argument("--right", choices=("view", "download"), default="view", help="what may be done there (view)")
    new.add_argument("--days", type=float, metavar="N", help="how long it is good (7)")
    new.add_argument("--passphrase", action="store_true", help="ask for a passphrase, which you say on another way")
    new.add_argument("--openings", type=int, metavar="N", help="how often it may be opened")
    revoke = doing.add_parser("revoke", help="make a link worthless, or all that somebody made")
    which = revoke.add_mutually_exclusive_group(required=True)
    which.add_argument("link", metavar="ID", nargs="?", help="of the link")
    which.add_argument(
        "--owner", metavar="OWNER", help="who made them, as `list` says; those of a key end with the key"
    )
    for each in (new, revoke, doing.add_parser("list", help="show all links, but not what they are")):
        _json(each)


def _http(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--http-host", "--host", metavar="ADDRESS", help="address to listen on (127.0.0.1)")
    sub.add_argument("--http-port", "--port", metavar="PORT", help="port to listen on (8080)")
    sub.add_argument("--workers", metavar="N", help="web processes")
    sub.add_argument(
        "--insecure",
        action="store_const",
        const=True,
        help="be reachable from elsewhere without access control",
    )


def _dimse(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--aet", metavar="TITLE", help="our AE title (ROENTGATE)")
    sub.add_argument("--dimse-host", metavar="ADDRESS", help="address where DIMSE is spoken (127.0.0.1)")
    sub.add_argument("--dimse-port", metavar="PORT", help="port where DIMSE is spoken (11112)")


def _clients(add: Callable[..., argparse.ArgumentParser]) -> None:
    """What is asked of nodes from the shell."""
    node = "NODE is a name of nodes.toml or /nodes, or AET@HOST:PORT."

    def client(name: str, doc: str, more: str, example: str) -> argparse.ArgumentParser:
        sub = add(name, f"node_{name}", doc, f"{node} {more}", example)
        sub.add_argument("node", metavar="NODE", help="which node")
        sub.add_argument("--dicomweb", metavar="URL", help="root of our archive's DICOMweb services")
        sub.add_argument("--aet", metavar="AET", help="our own AE title (ROENTGATE)")
        sub.add_argument("--tls", action="store_true", help="call AET@HOST:PORT over TLS")
        _json(sub)
        return sub

    client(
        "echo", "try whether a node can be reached",
        "Layers are tried one after the other: name, TCP, TLS, association, status. Exit status 0 if all are there.",
        "roentgate echo PACS@192.0.2.7:104",
    )  # fmt: skip
    check = add(
        "check", "check", "try whether a server works: store, find, fetch and delete a small image of nobody",
        "URL is the root of its DICOMweb services. Nothing is stored unless it may be deleted again, and nothing is"
        " left. Exit status 0 if all that was tried works.",
        "roentgate check http://127.0.0.1:8080/dicom-web --dimse ROENTGATE@127.0.0.1:11112",
    )  # fmt: skip
    check.add_argument("url", nargs="?", metavar="URL", help="which server (the setting dicomweb)")
    check.add_argument("--key-file", type=Path, metavar="FILE", help="an API key or token that may read, write, delete")
    check.add_argument("--look", action="store_true", help="search only, store nothing")
    check.add_argument("--dimse", metavar="NODE", help="also C-ECHO this one: HOST:PORT or AET@HOST:PORT")
    check.add_argument("--refuses", action="store_true", help="it must turn us away, since we are no node there")
    check.add_argument("--tls", action="store_true", help="call it over TLS")
    check.add_argument("--aet", metavar="AET", help="our own AE title (ROENTGATE)")
    _json(check)
    find = client(
        "find", "search at a node",
        "Keys are KEYWORD=VALUE as in C-FIND: wildcards, ranges, lists of UIDs.",
        "roentgate find PACS PatientName='Smith*' StudyDate=20240101-",
    )  # fmt: skip
    find.set_defaults(takes="keys")
    find.add_argument("keys", nargs="*", metavar="KEYWORD=VALUE", help="what to search for")
    find.add_argument(
        "--level", choices=("patient", "study", "series", "instance"), default="study", help="what is found (study)"
    )
    find.add_argument("--limit", type=int, default=1000, metavar="N", help="answers at most (1000)")
    send = client(
        "send", "send files, or something of the archive, to a node",
        "PATH is a file, a folder, a ZIP archive or a DICOMDIR. Exit status 0 only if all arrived.",
        "roentgate send PACS ~/cd --study 1.2.3",
    )  # fmt: skip
    send.set_defaults(takes="paths")
    send.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="what to send")
    send.add_argument(
        "--study", action="append", default=[], metavar="UID", help="study of the archive; may be repeated"
    )
    _job(send)
    send.add_argument("--again", action="store_true", help="send also what the node has already")
    retrieve = client(
        "retrieve", "retrieve studies from a node",
        "They go into the archive, into a folder, or to a third node. What is there already is not brought. Exit"
        " status 0 only if all arrived.",
        "roentgate retrieve PACS --study 1.2.3 --to ./images",
    )  # fmt: skip
    retrieve.add_argument("--study", action="append", required=True, metavar="UID", help="study; may be repeated")
    retrieve.add_argument("--series", metavar="UID", help="only this series")
    retrieve.add_argument("--instance", metavar="UID", help="only this instance of the series")
    _job(retrieve)
    where = retrieve.add_mutually_exclusive_group()
    where.add_argument("--to", type=Path, metavar="DIR", help="folder, in place of the archive")
    where.add_argument("--destination", metavar="NODE", help="third node, in place of the archive")


def _job(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--job",
        action="store_true",
        help="leave it to the bridge, which goes on by itself; `roentgate jobs` tells of it",
    )


def _desk(add: Callable[..., argparse.ArgumentParser]) -> None:
    """What the bridge does and did."""
    kept = "They are kept by the web server, or by the bridge itself in front of somebody else's DICOMweb server."
    jobs = add(
        "jobs", "jobs", "list the bridge's jobs, follow, cancel or retry one",
        f"`roentgate send --job` and `retrieve --job` add some. {kept} Exit status of --follow 0 only if all arrived.",
        "roentgate jobs --state waiting,running",
    )  # fmt: skip
    which = jobs.add_mutually_exclusive_group()
    which.add_argument("--follow", type=int, metavar="JOB", help="wait until it is over")
    which.add_argument("--cancel", type=int, metavar="JOB", help="stop it; what has arrived stays")
    which.add_argument("--retry", type=int, metavar="JOB", help="begin again; what has arrived is not sent again")
    jobs.add_argument(
        "--state", type=_states, default=(), metavar="STATE,...", help="waiting, running, done, failed, canceled"
    )
    jobs.add_argument("--node", default="", metavar="NODE", help="only this node's")
    refusals = add(
        "refusals", "refusals", "list what the bridge refused, why, and what to change", kept, "roentgate refusals",
    )  # fmt: skip
    spool = add(
        "spool", "spool", "tell what waits in the bridge's spool, and what was refused",
        "Exit status 1 if objects were refused for good.", "roentgate spool --again",
    )  # fmt: skip
    spool.add_argument("--again", action="store_true", help="let the bridge deliver once more what was refused")
    spool.add_argument(
        "--drain",
        type=float,
        metavar="SECONDS",
        help="wait until nothing waits, so long at most; exit status 1 if something does",
    )
    spool.add_argument("--after", type=float, default=0.0, metavar="SECONDS", help="let so much time pass before")
    _json(spool)
    for sub in (jobs, refusals):
        sub.add_argument("--limit", type=int, default=100, metavar="N", help="the latest N (100)")
        sub.add_argument("--dicomweb", metavar="URL", help="root of our archive's DICOMweb services")
        _json(sub)


def _states(text: str) -> tuple[str, ...]:
    states = tuple(text.split(","))
    if not set(states) <= {"waiting", "running", "done", "failed", "canceled"}:
        raise argparse.ArgumentTypeError("some of waiting,running,done,failed,canceled are needed")
    return states


def _json(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON for programs, and nothing else")


def _positive(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 64:
        raise argparse.ArgumentTypeError("a number from 1 to 64 is needed")
    return number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, beside process 1 where this would be that (see `first`).

    Args:
        arguments: without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    if os.getpid() != 1:
        return run(arguments)
    from dicomweb.first import beside

    return beside(lambda: run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; errors become one sentence on standard error.

    Args:
        arguments: without the program's name; None takes the process's.

    Returns:
        The exit status.
    """
    top = parser()
    args, more = top.parse_known_args(arguments)
    _take_more(top, args, more)
    if args.version:
        from importlib.metadata import version

        print(f"roentgate {version('roentgate')}")
        return OK
    if args.command is None:
        top.print_help()
        return WRONG
    names = [
        *("data", "storage", "index", "http_host", "http_port", "workers", "insecure", "on_conflict"),
        *("dicomweb", "aet", "dimse_host", "dimse_port"),
    ]
    try:
        given = {name: getattr(args, name, None) for name in names}
        config = Config.read(os.environ, args.config, given)
        logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
        status: int = import_module(f"dicomweb.commands.{args.module}").run(config, args)
        sys.stdout.flush()
    except BadSetting as error:
        return _complain(error, WRONG)
    except Error as error:
        return _complain(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status


def _take_more(top: argparse.ArgumentParser, args: argparse.Namespace, more: list[str]) -> None:
    """Add the words after an option to those before it, which argparse does not do for a list of any length."""
    takes = getattr(args, "takes", "")
    if more and (not takes or any(word.startswith("-") for word in more)):
        top.error(f"unrecognized arguments: {' '.join(more)}")
    if more:
        getattr(args, takes).extend(Path(word) if takes == "paths" else word for word in more)


def _complain(error: Error, status: int) -> int:
    sentence = str(error).strip()
    stop = "" if sentence.endswith((".", "!", "?")) else "."
    print(f"roentgate: {sentence}{stop}", file=sys.stderr)
    return status
