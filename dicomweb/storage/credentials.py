"""Keys of an S3 service, as boto3 finds them, but those of a file are read again when it changes.

So a key is rotated by writing the file (`AWS_SHARED_CREDENTIALS_FILE`), as Kubernetes does with a mounted Secret,
without a restart. Keys that come otherwise (environment, role of the machine, web identity) are boto3's own business.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.session
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError

_SHARED = "shared-credentials-file"
_LOOK_SECONDS = 1.0
"""The file is looked at when a request is signed, but not more often than this."""

log = logging.getLogger(__name__)


def session() -> botocore.session.Session:
    """A session of botocore whose keys follow the file that they are in."""
    made = botocore.session.get_session()
    resolver: Any = made.get_component("credential_provider")
    path = Path(made.get_config_variable("credentials_file")).expanduser()
    resolver.insert_before(_SHARED, _Provider(resolver.get_provider(_SHARED), path))
    return made


class _Provider(CredentialProvider):
    """What boto3 finds in the file, put into Renewed."""

    METHOD = "renewed-credentials-file"
    CANONICAL_NAME = "RenewedSharedCredentials"

    def __init__(self, shared: Any, path: Path) -> None:
        super().__init__()
        self._shared = shared
        self._path = path

    def load(self) -> Credentials | None:
        """See CredentialProvider."""
        found: Credentials | None = self._shared.load()
        return None if found is None else Renewed(found, self._path, self._shared.load)


class Renewed(Credentials):
    """Keys of a file.

    Args:
        first: what it holds now.
        path: of the file.
        load: reads it; None if nothing is in it.
    """

    def __init__(self, first: Credentials, path: Path, load: Callable[[], Credentials | None]) -> None:
        super().__init__(first.access_key, first.secret_key, first.token, method=first.method)
        self._path = path
        self._load = load
        self._lock = threading.Lock()
        self._seen = _state(path)
        self._next = time.monotonic() + _LOOK_SECONDS

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return the keys that a request is signed with."""
        if time.monotonic() >= self._next:
            with self._lock:
                self._look()
        return super().get_frozen_credentials()

    def _look(self) -> None:
        now = _state(self._path)
        self._next = time.monotonic() + _LOOK_SECONDS
        if now == self._seen:
            return
        try:
            found = self._load()
        except BotoCoreError as error:
            log.warning("the changed file of S3 keys cannot be used, the old keys stay: %s", error)
            return
        if found is None:
            log.warning("the changed file of S3 keys holds none, the old keys stay")
            return
        self._seen = now
        self.access_key, self.secret_key, self.token = found.access_key, found.secret_key, found.token
        log.info("the changed S3 keys are in use")


def _state(path: Path) -> tuple[int, int]:
    """What differs once the file, or what a link leads to, is another."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)
