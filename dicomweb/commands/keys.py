"""`roentgate key`: API keys are made, listed and revoked. The text of a key is shown once and kept nowhere."""

import argparse
import math
import time
from datetime import UTC, datetime

from dicomweb.access import keys
from dicomweb.access.keys import Key
from dicomweb.access.rights import Scope, read_patient, read_roles, write_patient
from dicomweb.commands.terminal import audited, opened, show_json, show_table
from dicomweb.config import Config
from dicomweb.errors import BadRequest, Conflict, NotFound
from dicomweb.index.access import AccessKeys
from dicomweb.standard import resources

_DAY = 86_400.0


def run(config: Config, args: argparse.Namespace) -> int:
    """Do what is asked.

    Raises:
        BadRequest, Conflict: a key cannot be made like this.
        NotFound: there is no key of this name.
    """
    with opened(config, make=args.doing == "add") as archive:
        {"add": _add, "list": _list, "revoke": _revoke}[args.doing](archive.index.keys, args)
    if args.doing != "list":
        with audited(config) as trail:
            trail({"event": f"key {args.doing}", "outcome": "success", "key": args.name})
    return 0


def _add(kept: AccessKeys, args: argparse.Namespace) -> None:
    if not args.name.strip() or not args.name.isprintable():
        raise BadRequest("a key has a name, by which people know it")
    if any(args.name in (key.name, key.id) for key in kept.all()):
        raise Conflict(f"there is a key {args.name} already; revoke it first, or choose another name")
    if args.days is not None and not (math.isfinite(args.days) and args.days > 0):
        raise BadRequest("days is a number above 0")
    text, now = keys.new_text(), time.time()
    scope = None
    if args.study or args.patient:
        studies = frozenset(resources.read_uid(uid) for uid in args.study)
        scope = Scope(studies, frozenset(read_patient(patient) for patient in args.patient))
    key = Key(
        id=keys.id_of(text) or "",
        digest=keys.digest_of(text),
        name=args.name,
        roles=read_roles(args.role),
        scope=scope,
        nodes=frozenset(args.node) or None,
        created=now,
        expires=None if args.days is None else now + args.days * _DAY,
    )
    kept.add(key)
    if args.json:
        show_json(_told(key) | {"key": text})
    else:
        print(text)


def _list(kept: AccessKeys, args: argparse.Namespace) -> None:
    found = kept.all()
    if args.json:
        show_json([_told(key) for key in found])
        return
    rows = [
        (key.name, key.id, "+".join(sorted(key.roles)), _where(key), _day(key.created), _day(key.expires))
        for key in found
    ]
    show_table("", ("name", "id", "roles", "where", "made", "ends"), rows)


def _revoke(kept: AccessKeys, args: argparse.Namespace) -> None:
    found = next((key for key in kept.all() if args.name in (key.name, key.id)), None)
    if found is None or not kept.drop(found.id):
        raise NotFound(f"there is no key {args.name}")
    if args.json:
        show_json(_told(found))
    else:
        print(f"{found.name} ({found.id}) opens nothing any more.")


def _told(key: Key) -> dict[str, object]:
    scope = key.scope
    return {
        "id": key.id,
        "name": key.name,
        "roles": sorted(key.roles),
        "studies": None if scope is None else sorted(scope.studies),
        "patients": None if scope is None else sorted(map(write_patient, scope.patients)),
        "nodes": None if key.nodes is None else sorted(key.nodes),
        "created": key.created,
        "expires": key.expires,
    }


def _where(key: Key) -> str:
    parts = []
    if key.scope is not None:
        parts += [*sorted(key.scope.studies), *(f"patient {write_patient(one)}" for one in sorted(key.scope.patients))]
    if key.nodes is not None:
        parts += [f"node {name}" for name in sorted(key.nodes)]
    return ", ".join(parts) or "everywhere"


def _day(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d")
