"""`roentgate share`: links to studies are made, listed and revoked. A link is shown once and kept nowhere."""

import argparse
import getpass
import sys
from datetime import UTC, datetime

from dicomweb.commands.terminal import audited, opened, show_json, show_table, user
from dicomweb.config import Config
from dicomweb.errors import BadSetting, NotFound
from dicomweb.index.shares import Shares
from dicomweb.web import shares


def run(config: Config, args: argparse.Namespace) -> int:
    """Do what is asked.

    Raises:
        BadSetting: there are no links here.
        BadRequest: a link cannot be made like this.
        NotFound: there is no such study, or link.
    """
    if args.doing == "create" and not config.shares:
        raise BadSetting("there are no links here: they need access = true, and shares = true.")
    event: dict[str, object]
    with opened(config) as archive:
        if args.doing == "list":
            _list(archive.index.shares, args)
            return 0
        if args.doing == "create":
            value = {"study": args.study, "right": args.right, "passphrase": _passphrase(args)}
            if args.days is not None:
                value["days"] = args.days
            if args.openings is not None:
                value["openings"] = args.openings
            maker = user()
            wanted = shares.read_wanted(value, config.share_days)
            share, secret = shares.make(archive, wanted, maker, f"command {maker}")
            event = {"event": "share created", "right": share.right, "expires": share.expires}
            event |= {"share": share.id, "study": share.study}
            told = shares.write_new(share, secret, config.public_url or config.local_url())
            said = str(told["url"])
        elif args.owner:
            count = archive.index.shares.drop_of(args.owner)
            event, told = {"event": "shares revoked", "owner": args.owner}, {"revoked": count}
            said = f"{count} links of {args.owner} open nothing any more."
        else:
            found = archive.index.shares.get(args.link)
            if found is None or not archive.index.shares.drop(found.id):
                raise NotFound(f"there is no link {args.link}")
            event = {"event": "share revoked", "share": found.id, "study": found.study}
            told = shares.write(found)
            said = f"{found.id} opens nothing any more."
    with audited(config) as trail:
        trail({**event, "outcome": "success"})
    if args.json:
        show_json(told)
    else:
        print(said)
    return 0


def _passphrase(args: argparse.Namespace) -> str:
    """Ask for it, or read a line where nobody can be asked: on a command line others would see it."""
    if not args.passphrase:
        return ""
    return getpass.getpass("Passphrase: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")


def _list(kept: Shares, args: argparse.Namespace) -> None:
    found = [shares.write(share) for share in kept.all()]
    if args.json:
        show_json(found)
        return
    rows = [
        (
            one["id"],
            one["study"],
            one["right"],
            one["by"],
            one["owner"],
            _day(one["expires"]),
            _opened(one),
            _state(one),
        )
        for one in found
    ]
    show_table("", ("id", "study", "right", "made by", "owner", "ends", "opened", "state"), rows)


def _opened(told: dict[str, object]) -> str:
    return f"{told['opened']} of {told['openings']}" if told["openings"] is not None else f"{told['opened']}"


def _state(told: dict[str, object]) -> str:
    return ("open, with a passphrase" if told["passphrase"] else "open") if told["open"] else "closed"


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")
