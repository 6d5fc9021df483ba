"""GETs of objects of an S3 service: signed and sent by what boto3 signs and sends with, and nothing else of it.

What a client of boto3 does around that for each request (rules of endpoints, checks of parameters, events) takes more
CPU than both. Redirections, and what it mends by itself, are left to such a client.
"""

import socket
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError
from botocore.httpsession import URLLib3Session
from botocore.parsers import create_parser
from botocore.session import Session
from botocore.utils import get_environ_proxies

from dicomweb.storage.patience import Patience

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_FOUND = (200, 206)
_REFUSED = 401
"""From here on an answer is an error; what lies between is a bucket of another region, or a malformed request."""
_OPERATION = "GetObject"
_KEEP_ALIVE = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class Fetched(Protocol):
    """An answer of an HTTP client, of which the body is still to be read."""

    status_code: int
    headers: Any
    raw: Any


class Fetcher:
    """Asks for objects of a bucket.

    Args:
        session: has the keys, and the certificates that are trusted.
        client: knows where the bucket is and which region to sign for.
        bucket: its name.
        patience: how long the service is waited for.
        connections: that are kept.

    Raises:
        botocore.exceptions.BotoCoreError: there are no keys.
    """

    def __init__(self, session: Session, client: "S3Client", bucket: str, patience: Patience, connections: int) -> None:
        signed = urlsplit(client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
        self._base = signed._replace(path=signed.path.removesuffix("k"), query="").geturl()
        self._region = parse_qs(signed.query)["X-Amz-Credential"][0].split("/")[-3]
        self._parser = create_parser("rest-xml")
        self._shape: Any = client.meta.service_model.operation_model(_OPERATION).output_shape
        self._credentials: Any = session.get_credentials()
        send_by: Any = URLLib3Session  # its stubs know less than it does
        self._http = send_by(
            verify=session.get_config_variable("ca_bundle") or True,
            proxies=get_environ_proxies(self._base),
            timeout=(patience.connect, patience.read),
            max_pool_connections=connections,
            socket_options=_KEEP_ALIVE,
        )

    def fetch(self, key: str, headers: dict[str, str], unsigned: dict[str, str]) -> Fetched | None:
        """Ask for an object.

        Args:
            key: with the prefix.
            headers: of the request.
            unsigned: further ones, which are left out of the signature.

        Returns:
            The answer; None if the long way has to be gone.

        Raises:
            botocore.exceptions.HTTPClientError: it did not come.
            botocore.exceptions.ClientError: the service refused.
        """
        request = AWSRequest("GET", self._base + quote(key, safe="/~"), headers=headers)
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        request.stream_output = True
        prepared = request.prepare()
        for name, value in unsigned.items():
            prepared.headers[name] = value
        answer = self._http.send(prepared)
        if answer.status_code in _FOUND:
            found: Fetched = answer
            return found
        told = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
        if answer.status_code < _REFUSED:
            return None
        raise ClientError(self._parser.parse(told, self._shape), _OPERATION)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
