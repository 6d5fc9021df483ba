"""The path as the routes know it: without prefix, doubled slashes and a slash at the end.

Clients join URLs by hand; `//studies` and `/studies/` mean `/studies`. The prefix is what stands before all
paths when a proxy shares its host among several servers, whether the proxy leaves it in the path or not.

Below `/s/{link}/` everything is as it is at the root, asked by whoever has that link (see `access.shares`). So what is
relative, the explorer and viewers, works there as it is.
"""

import re

from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.access.shares import FORM

LINK = "roentgate.link"
"""Where a request's scope (ASGI) has the link below which it asks."""
LINKS = "/s/"
"""Path of the links."""

_SLASHES = re.compile("//+")
_LINKED = re.compile(rf"/s/({FORM})(/.+)")


class Paths:
    """Around the routes: rewrites the path of each request.

    Args:
        app: the application (ASGI).
        prefix: such as "/pacs", or "".
        links: whether there may be links.
    """

    def __init__(self, app: ASGIApp, prefix: str = "", links: bool = False) -> None:
        self._app = app
        self._prefix = prefix
        self._links = links

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI)."""
        if scope["type"] == "http":
            path: str = scope["path"]
            plain = read_path(path, self._prefix)
            if self._links and plain.startswith(LINKS) and (linked := _LINKED.fullmatch(plain)) is not None:
                scope = {**scope, "path": linked[2], "root_path": "", LINK: linked[1]}
            elif plain != path or scope.get("root_path"):
                scope = {**scope, "path": plain, "root_path": ""}
        await self._app(scope, receive, send)


def read_path(path: str, prefix: str = "") -> str:
    """Return the path as the routes know it (RFC 3986 3.3); "/" is the root."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        path = path[len(prefix) :]
    if len(path) > 1 and path[-1] == "/":
        path = path[:-1]
    return path or "/"
