"""GETs and PUTs of objects of an S3 service: signed and sent by what boto3 signs and sends with, and no more of it.

What a client of boto3 does around that for each request (rules of endpoints, checks of parameters, events) takes more
CPU than both. Redirections, and what it mends by itself, are left to such a client.
"""

import base64
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
from dicomweb.storage.s3_errors import code_of
from dicomweb.storage.sources import Source

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DONE = (200, 206)
_REDIRECTED = range(300, 400)
_OTHER_REGION = "AuthorizationHeaderMalformed"
_GET, _PUT = "GetObject", "PutObject"
_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_KEEP_ALIVE = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


class Answered(Protocol):
    """An answer of an HTTP client, of which the body may still have to be read."""

    status_code: int
    headers: Any
    raw: Any
    content: bytes


class _Signer(S3SigV4Auth):
    """Signs a request whose body has a SHA-256 that is known already."""

    def __init__(self, keys: Any, region: str, sha256: str) -> None:
        super().__init__(keys, "s3", region)
        self._sha256 = sha256

    def payload(self, request: Any) -> str:
        """See S3SigV4Auth."""
        return self._sha256


class Exchange:
    """Fetches and brings objects of a bucket.

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
        model = client.meta.service_model
        self._shapes: dict[str, Any] = {name: model.operation_model(name).output_shape for name in (_GET, _PUT)}
        self._credentials: Any = session.get_credentials()
        send_by: Any = URLLib3Session  # its stubs know less than it does
        self._http = send_by(
            verify=session.get_config_variable("ca_bundle") or True,
            proxies=get_environ_proxies(self._base),
            timeout=(patience.connect, patience.read),
            max_pool_connections=connections,
            socket_options=_KEEP_ALIVE,
        )

    def fetch(self, key: str, headers: dict[str, str], unsigned: dict[str, str]) -> Answered | None:
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
        request = AWSRequest("GET", self._url(key), headers=headers)
        request.stream_output = True
        return self._send(_GET, request, _EMPTY, unsigned)

    def bring(
        self,
        key: str,
        body: bytes | Source,
        sha256: bytes,
        unsigned: dict[str, str],
        conditional: bool,
        checksum: bool,
    ) -> bool:
        """Write an object; the service refuses other bytes than those of this digest.

        Args:
            key: with the prefix.
            body: its bytes; of a source, they are sent once the service gave leave.
            sha256: their digest, which is signed, and kept beside the object.
            unsigned: fields of the request that are left out of the signature.
            conditional: only if there is none under the key.
            checksum: the digest is sent as what S3 calls the checksum, too.

        Returns:
            Whether it is written; if not, the long way has to be gone.

        Raises:
            botocore.exceptions.HTTPClientError: no answer came.
            botocore.exceptions.ClientError: the service refused.
        """
        digest = sha256.hex()
        headers = {"x-amz-meta-sha256": digest}
        if conditional:
            headers["If-None-Match"] = "*"
        if checksum:
            headers["x-amz-checksum-sha256"] = base64.b64encode(sha256).decode()
        leave = {"Expect": "100-continue"} if isinstance(body, Source) else {}
        request = AWSRequest("PUT", self._url(key), headers=headers, data=body)
        return self._send(_PUT, request, digest, {**unsigned, **leave}) is not None

    def _url(self, key: str) -> str:
        return self._base + quote(key, safe="/~")

    def _send(self, operation: str, request: AWSRequest, sha256: str, unsigned: dict[str, str]) -> Answered | None:
        """Sign and send a request; see `fetch`."""
        _Signer(self._credentials.get_frozen_credentials(), self._region, sha256).add_auth(request)
        prepared = request.prepare()
        for name, value in unsigned.items():
            prepared.headers[name] = value
        answer: Answered = self._http.send(prepared)
        if answer.status_code in _DONE:
            return answer
        told = {"status_code": answer.status_code, "headers": answer.headers, "body": answer.content}
        if answer.status_code in _REDIRECTED:
            return None
        error = ClientError(self._parser.parse(told, self._shapes[operation]), operation)
        if code_of(error) == _OTHER_REGION:
            return None
        raise error

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
