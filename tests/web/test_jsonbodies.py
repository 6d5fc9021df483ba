"""JSON that programs send: read whole, or refused in a sentence."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from dicomweb.errors import BadRequest
from dicomweb.web import jsonbodies


def test_a_body_that_breaks_off_is_the_clients_affair():
    messages = [{"type": "http.request", "body": b'{"key"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    with pytest.raises(BadRequest, match="before the body was complete"):
        asyncio.run(jsonbodies.read(request))
