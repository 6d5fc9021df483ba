"""`/shares`: links to a study for people who have no key, and `/s/{link}`, where they are opened. An extension.

There are links only where somebody is asked who he is: elsewhere whoever cuts one down to the server's own address sees
everything. A link can give no more than its maker has, and ends with the key that made it; everybody sees and revokes
his own, administrators all. Whose it is tells not a name, which several may have, but the maker's identity.
"""

import math
import re
import time
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.access import shares
from dicomweb.access.rights import Principal
from dicomweb.access.shares import Share
from dicomweb.archive.archive import Archive
from dicomweb.errors import BadRequest, Forbidden, NotFound, NotIdentified
from dicomweb.standard import resources
from dicomweb.web import explorer, jsonbodies
from dicomweb.web.access import knows_study
from dicomweb.web.addresses import Addresses
from dicomweb.web.auditing import PRINCIPAL, note
from dicomweb.web.paths import LINKS
from dicomweb.web.threads import hop

_DAY = 86_400.0
_USUAL_DAYS = 7.0
_MOST_OPENINGS = 1_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A link as it was asked for; see `access.shares.new_share`."""

    study: str
    right: shares.ShareRight
    seconds: float
    passphrase: str
    most: int | None


def read_wanted(value: dict[str, Any], longest_days: float) -> Wanted:
    """Read what link is wanted: `study`, `right`, `days`, `passphrase`, `openings`.

    Raises:
        BadRequest: it is none, or is to be good for too long.
    """
    if unknown := sorted(value.keys() - {"study", "right", "days", "passphrase", "openings"}):
        raise BadRequest(f"a link has no {unknown[0][:40]!r}")
    right = value.get("right", "view")
    if right not in shares.RIGHTS:
        raise BadRequest("right is view or download")
    days = value.get("days", min(_USUAL_DAYS, longest_days))
    if not _is_number(days) or not 0 < days <= longest_days:
        raise BadRequest(f"days is a number above 0, and {longest_days:g} at most (share_days)")
    passphrase = value.get("passphrase") or ""
    if not isinstance(passphrase, str) or len(passphrase) > shares.LONGEST_PASSPHRASE:
        raise BadRequest(f"a passphrase has {shares.LONGEST_PASSPHRASE} characters at most")
    most = value.get("openings")
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or not 0 < most <= _MOST_OPENINGS):
        raise BadRequest("openings is a whole number above 0")
    study = value.get("study")
    uid = resources.read_uid(study) if isinstance(study, str) else ""
    if not uid:
        raise BadRequest("study is a Study Instance UID")
    return Wanted(uid, right, days * _DAY, passphrase, most)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def make(archive: Archive, wanted: Wanted, maker: str, owner: str, latest: float | None = None) -> tuple[Share, str]:
    """Make a link and return it with its secret. Blocks.

    Args:
        archive: where the study is.
        wanted: the link.
        maker, owner: name and identity of who makes it.
        latest: when it ends at the latest: who makes it does then.

    Raises:
        NotFound: there is no such study.
        NotIdentified: the key that makes it has been revoked meanwhile.
    """
    archive.index.members(wanted.study)
    now = time.time()
    seconds = wanted.seconds if latest is None else min(wanted.seconds, latest - now)
    share, secret = shares.new_share(
        wanted.study, wanted.right, maker, now, seconds, wanted.passphrase, wanted.most, owner
    )
    if not archive.index.shares.add(share):
        raise NotIdentified("the key that was to make the link has been revoked", shown=True)
    return share, secret


def write(share: Share) -> dict[str, Any]:
    """Write what people may know of a link."""
    return {
        "id": share.id,
        "study": share.study,
        "right": share.right,
        "by": share.maker,
        "owner": share.owner,
        "created": share.created,
        "expires": share.expires,
        "passphrase": bool(share.passphrase),
        "openings": share.most,
        "opened": share.opened,
        "open": not share.closed and time.time() < share.expires,
    }


def write_new(share: Share, secret: str, root: str) -> dict[str, Any]:
    """Write the same of a new link, and the link itself: for a browser, and as a DICOMweb root where the secret alone
    opens it."""
    viewers = f"{root}{LINKS}{shares.write_root(share, secret)}/dicom-web" if share.bare else None
    return write(share) | {"url": f"{root}{LINKS}{shares.write_link(share, secret)}", "dicomweb": viewers}


async def create(request: Request) -> Response:
    """POST /shares: make a link; 201 with the link, which is told this once."""
    archive = _archive(request)
    principal: Principal = request.scope[PRINCIPAL]
    wanted = read_wanted(await jsonbodies.read(request), archive.config.share_days)
    note(request, study=wanted.study)
    if not principal.may(["view" if wanted.right == "view" else "read"]):
        raise Forbidden(f"a link cannot give the right to {wanted.right}, which {principal.name} does not have")
    if not await hop(knows_study, request, wanted.study):
        raise NotFound("there is no such study")
    share, secret = await hop(make, archive, wanted, principal.name, principal.identity, principal.expires)
    note(request, share=share.id, right=share.right, expires=share.expires)
    addresses: Addresses = request.app.state.addresses
    root = addresses.root(request.scope)
    return jsonbodies.respond(write_new(share, secret, root), 201, {"location": f"{root}/shares/{share.id}"})


async def listing(request: Request) -> Response:
    """GET /shares: links, the latest first; of others for administrators only."""
    return jsonbodies.respond({"shares": await hop(_known, request)})


def _known(request: Request) -> list[dict[str, Any]]:
    return [write(share) for share in _archive(request).index.shares.all() if _may_know(request, share)]


async def revoke(request: Request) -> Response:
    """DELETE /shares/{share}: have a link open nothing any more; 204."""
    await hop(_revoke, request)
    return Response(status_code=204)


def _revoke(request: Request) -> None:
    kept = _archive(request).index.shares
    share = kept.get(request.path_params["share"])
    if share is None or not _may_know(request, share) or not kept.drop(share.id):
        raise NotFound("there is no such link")
    note(request, share=share.id, study=share.study)


async def revoke_all(request: Request) -> Response:
    """DELETE /shares?owner=: have all links of somebody open nothing any more; 200 with how many."""
    return jsonbodies.respond({"revoked": await hop(_revoke_all, request)})


def _revoke_all(request: Request) -> int:
    archive = _archive(request)
    principal: Principal = request.scope[PRINCIPAL]
    owner = request.query_params.get("owner") or ""
    note(request, owner=owner)
    if not owner:
        raise BadRequest("owner says whose links are to be revoked, as GET /shares does")
    if owner != principal.identity and "admin" not in principal.roles:
        raise Forbidden("links of others are revoked by administrators")
    return archive.index.shares.drop_of(owner)


async def opening(request: Request) -> Response:
    """GET /s/{link}: on to the page that opens a link; with a slash at the end, the explorer below it."""
    _archive(request)
    link = request.path_params["link"]
    if re.fullmatch(shares.FORM, link) is None:
        raise NotFound("there is no such link")
    raw: bytes = request.scope.get("raw_path") or b"/"
    if raw.partition(b"?")[0].endswith(b"/"):
        return await explorer.page(request)
    id, _ = shares.read_link(link)
    return Response(status_code=303, headers={"location": f"{id}/sign-in", "cache-control": "no-store"})


def _archive(request: Request) -> Archive:
    archive: Archive = request.app.state.archive
    if not archive.config.shares:
        raise NotFound("there are no links here: they need access control, and the setting shares")
    return archive


def _may_know(request: Request, share: Share) -> bool:
    principal: Principal = request.scope[PRINCIPAL]
    return "admin" in principal.roles or (share.owner == principal.identity and knows_study(request, share.study))
