"""Nodes that speak DICOMweb: an origin server elsewhere, with what it takes to be let in (PS3.18 10; RFC 6749 4.4,
RFC 7617): a client certificate, HTTP Basic or OAuth client credentials, and a proxy on the way."""

import base64
import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import urllib3
from urllib3.exceptions import HTTPError, ProxyError, SSLError

from bridge.client import Origin, Stored, is_held, root_of
from bridge.security import describe
from dicomweb.errors import Forbidden, Unavailable
from dicomweb.standard.nodes import Node

_EARLY = 30.0
"""Seconds before its end at which a token is no longer used."""
_CONNECT_SECONDS, _READ_SECONDS = 10.0, 300.0


class WebNode(Origin):
    """The DICOMweb server that a node names.

    Args:
        node: of kind dicomweb.
        connections: how many are kept.
    """

    def __init__(self, node: Node, connections: int = 8) -> None:
        super().__init__(node.url, connections, _CONNECT_SECONDS, _READ_SECONDS, node.ca)
        self.node = node
        self.server = ""  # its other services, if it has some, are no business of ours
        given: dict[str, Any] = {
            "maxsize": connections, "retries": False,
            "timeout": urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            "ca_certs": node.ca or None, "cert_file": node.client_cert or None, "key_file": node.client_key or None,
        }  # fmt: skip
        if node.proxy:
            parts = urlsplit(node.proxy)
            login = f"{parts.username or ''}:{parts.password or ''}" if parts.username is not None else None
            headers = urllib3.make_headers(proxy_basic_auth=login) if login else None
            bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
            self._pool = urllib3.ProxyManager(bare, proxy_headers=headers, **given)
            self._lines = None  # which go to the server itself
        else:
            self._pool = urllib3.PoolManager(**given)
        self._lock = threading.Lock()
        self._token, self._until = "", 0.0
        if node.user:
            login = base64.b64encode(f"{node.user}:{node.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"

    def store(self, body: bytes | Iterable[bytes], content_type: str, conflict: str = "") -> Stored:
        """See Origin; what is done with other content under a known UID is the server's to say."""
        return super().store(body, content_type, "")

    def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        stream: bool = False,
        repeat: bool = True,
        seconds: float = 0.0,
    ) -> urllib3.BaseHTTPResponse:
        try:
            return self._ask_with_login(method, url, headers, body, stream, repeat, seconds)
        except Unavailable as error:
            if isinstance(error.__cause__, ProxyError):
                raise Unavailable(f"the proxy on the way to node {self.node.name} cannot be reached") from error
            raise

    def _ask_with_login(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None,
        stream: bool,
        repeat: bool,
        seconds: float,
    ) -> urllib3.BaseHTTPResponse:
        if not self.node.token_url:
            return super()._ask(method, url, headers, body, stream, repeat, seconds)
        before = self._token
        login = self._login()
        response = super()._ask(method, url, {**headers, **login}, body, stream, repeat, seconds)
        held = body is None or is_held(body)
        if response.status == 401 and (held or self._token == before):
            response.drain_conn()
            self._until = 0.0  # withdrawn before its time
            if not held:
                raise Unavailable(f"node {self.node.name} ended its token; another one is fetched for the next attempt")
            response = super()._ask(method, url, {**headers, **self._login()}, body, stream, repeat, seconds)
        return response

    def _login(self) -> dict[str, str]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._token, seconds = self._fetch()
                self._until = time.monotonic() + max(seconds - _EARLY, 1.0)
            return {"Authorization": f"Bearer {self._token}"}

    def _fetch(self) -> tuple[str, float]:
        """Ask for a token (RFC 6749 4.4.2)."""
        node = self.node
        form = {"grant_type": "client_credentials"} | ({"scope": node.scope} if node.scope else {})
        login = base64.b64encode(f"{node.client_id}:{node.client_secret}".encode()).decode()
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": f"Basic {login}"}
        try:
            response = self._pool.request("POST", node.token_url, body=urlencode(form), headers=headers)
            told = json.loads(response.data) if response.data else {}
        except SSLError as error:
            raise Unavailable(f"{node.token_url} gives no token: {describe(root_of(error))}") from error
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable(f"{node.token_url} gives no token: it cannot be reached or is no OAuth server") from error
        if response.status != 200 or not isinstance(told, dict) or not told.get("access_token"):
            why = told.get("error_description") or told.get("error") if isinstance(told, dict) else ""
            raise Forbidden(f"{node.token_url} gives no token: {why or f'status {response.status}'}")
        return str(told["access_token"]), float(told.get("expires_in") or 60)
