"""Cookies in which a browser keeps what lets somebody in: no script reads them, nobody else sets them.

A page of a sibling subdomain may set cookies for ours, and so have somebody work, and store, as somebody else. Of one
whose name begins with `__Host-` browsers take it from the host itself alone, over TLS and for all of its paths
(RFC 6265bis 4.1.3.2). So who comes by https is known by such a cookie and by no other, and the name tells apart what
the path would: servers that share a host. By http, on this machine, browsers keep no such cookies, and names are plain.
"""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlsplit

from starlette.responses import Response
from starlette.types import Scope

from dicomweb.web.addresses import Addresses


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie.

    Attributes:
        name: plain.
        below: of the server's paths those for which it is, where its name leaves that open.
        site: whether it comes along when a page of elsewhere leads here; `lax` has it come.
        ours: nobody but the server itself may set it. Otherwise it is for the addresses of a link alone.
    """

    name: str
    below: str = ""
    site: Literal["strict", "lax"] = "strict"
    ours: bool = True

    def read(self, scope: Scope, addresses: Addresses) -> str | None:
        """Return what the browser that sent a request keeps, or None."""
        fields = [value for name, value in scope["headers"] if name == b"cookie"]
        if not fields:
            return None
        wanted = self._place(scope, addresses)[0].encode()
        for value in fields:
            for part in value.split(b";"):
                given, _, rest = part.strip().partition(b"=")
                if given == wanted:
                    return rest.strip(b' "').decode("latin-1") or None
        return None

    def keep(self, response: Response, text: str, seconds: float, scope: Scope, addresses: Addresses) -> None:
        """Have the browser that sent a request keep something for as long; 0 has it forgotten."""
        name, path, secure = self._place(scope, addresses)
        response.set_cookie(name, text, int(seconds), path=path, httponly=True, samesite=self.site, secure=secure)
        response.headers["cache-control"] = "no-store"

    def _place(self, scope: Scope, addresses: Addresses) -> tuple[str, str, bool]:
        """Its name, its path, and whether it goes over TLS only."""
        root = urlsplit(addresses.server(scope) if self.ours else addresses.root(scope))
        secure = (root.scheme or scope.get("scheme")) == "https"
        if secure and self.ours:
            return f"__Host-{self.name}{quote(root.path, safe='')}", "/", True
        return self.name, f"{root.path}/{self.below}", secure
