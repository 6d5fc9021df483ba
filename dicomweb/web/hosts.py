"""Under which names this server may be asked for (RFC 9110 7.2), while nobody is asked who he is.

A page of a stranger cannot read what another origin answers. But its own name may lead to this machine from one
moment to the next (DNS rebinding), and then the open server on loopback is of the same origin as that page. The
browser still says in Host which name it went by, so a name that is none of ours is answered by 421. An address in
Host is no name, and cannot be led elsewhere.

With access control on no such page has a key, a token or a cookie of ours, and off loopback nobody but the operator
knows our names: there it is checked only if `allowed_hosts` says which.
"""

import ipaddress
from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from dicomweb.errors import Misdirected


class Hosts:
    """Around the application, inside of what turns errors into answers.

    Args:
        app: the application (ASGI).
        names: host names that are ours, beside `localhost`; one that begins with `*.` stands for all below it, `*`
            for all.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self._app = app
        lowered = [name.lower().rstrip(".") for name in names]
        self._names = {"localhost", *lowered}
        self._ends = (".localhost", *(name[1:] for name in lowered if name.startswith("*.")))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application (ASGI).

        Raises:
            Misdirected: the request asks for another server.
        """
        if scope["type"] == "http" and "*" not in self._names:
            for name, value in scope["headers"]:
                if name == b"host" and not self._is_ours(value.decode("latin-1")):
                    raise Misdirected(
                        "the request asks for a host that is not known here; if this server is called so, name it in"
                        " allowed_hosts or public_url"
                    )
        await self._app(scope, receive, send)

    def _is_ours(self, value: str) -> bool:
        host = value.strip().lower()
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        host = host.rstrip(".")
        return not host or host in self._names or host.endswith(self._ends) or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
