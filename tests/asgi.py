"""Asks an ASGI application without a server, one request at a time, from plain test functions."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.types import ASGIApp


class Client:
    """An HTTP client of one application.

    Args:
        app: the application.
        raises: let errors that leave the application through, as a server would see them.
        address: what the application takes for the client's address.
        base: what stands before paths.
    """

    def __init__(
        self,
        app: ASGIApp,
        raises: bool = True,
        address: str = "127.0.0.1",
        base: str = "http://localhost:8080",
    ) -> None:
        self.app = app
        self._raises = raises
        self._address = address
        self._base = base

    def request(
        self, method: str, url: str, headers: Mapping[str, str | None] | None = None, **more: Any
    ) -> httpx.Response:
        """Send a request. A header that is None is left out, also one that httpx would send by itself."""
        return asyncio.run(self._request(method, url, dict(headers or {}), more))

    async def _request(
        self, method: str, url: str, headers: dict[str, str | None], more: dict[str, Any]
    ) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, self._raises, client=(self._address, 40000))
        async with httpx.AsyncClient(transport=transport, base_url=self._base, timeout=None) as client:
            sent = {name: value for name, value in headers.items() if value is not None}
            request = client.build_request(method, url, headers=sent, **more)
            for name, value in headers.items():
                if value is None:
                    request.headers.pop(name, None)
            return await client.send(request)

    def get(self, url: str, **more: Any) -> httpx.Response:
        """Send a GET request."""
        return self.request("GET", url, **more)

    def head(self, url: str, **more: Any) -> httpx.Response:
        """Send a HEAD request."""
        return self.request("HEAD", url, **more)

    def options(self, url: str, **more: Any) -> httpx.Response:
        """Send an OPTIONS request."""
        return self.request("OPTIONS", url, **more)

    def post(self, url: str, **more: Any) -> httpx.Response:
        """Send a POST request."""
        return self.request("POST", url, **more)

    def delete(self, url: str, **more: Any) -> httpx.Response:
        """Send a DELETE request."""
        return self.request("DELETE", url, **more)
