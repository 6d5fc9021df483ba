"""Every setting, one frozen object, read once.

A setting is a field of `Config`; its description, group and bounds stand beside it, and `roentgate config`
and the table in README are made from them. The field `http_port` is `ROENTGATE_HTTP_PORT` in the environment
and `http_port` in `roentgate.toml`; the command line wins over the environment, the environment over the
file, the file over the default. A name that is no setting stops the start: it is a slip.
"""

# ruff: noqa: RUF009 (`setting` makes dataclass fields, which the rule cannot see)

import dataclasses
import ipaddress
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from dicomweb.errors import BadSetting
from dicomweb.settings import GIB, KIB, MIB, Setting, mask, setting
from dicomweb.settings.given import FILE, Given, read_secret

IN_FILES = ("index", "dicomweb", "bridge_token", "oidc_client_secret")
"""Settings that hold a secret, which `ROENTGATE_X_FILE` may name a file of."""

PLACES, HTTP, ACCESS, ARCHIVE = "places", "http", "access", "archive"
IMAGES, LIMITS, BRIDGE = "images", "limits", "bridge"
GROUPS = {
    PLACES: "Where things lie",
    HTTP: "HTTP",
    ACCESS: "Access control",
    ARCHIVE: "Archive and searches",
    IMAGES: "Images",
    LIMITS: "Limits",
    BRIDGE: "DIMSE bridge",
}

_RIGHTS = ("echo", "store", "find", "get", "move")

# Where it is below `data`, for each path that is not set
_BELOW_DATA = {
    "scratch": "scratch",
    "cache": "cache",
    "viewers": "viewers",
    "audit_folder": "audit",
    "ledger": "bridge/ledger.sqlite",
}
# On with `access`, for each that is not set
_WITH_ACCESS = ("audit", "shares", "zero_preamble", "delete_reason")


@dataclass(frozen=True, repr=False)
class Config:
    """What holds for this process. Fields left at a default that stands for a rule are filled in by
    `__post_init__`, so a reader never meets an empty `storage`, `index`, `scratch` or a `workers` of 0.

    Sizes are bytes and times seconds, as the names say. `origins` tells for each setting that was given where
    it was given; `files` in which file a secret stands that may change while we run; `notices` holds sentences for the
    log, for example about a file that others can read.
    """

    # -- places ------------------------------------------------------------------------------------------
    data: Path = setting(
        Path("data"),
        PLACES,
        "folder of the embedded default: files, index, uploads under way",
        shown="`./data`",
    )
    storage: str = setting(
        "",
        PLACES,
        "where objects lie: `file:/folder`, `s3://bucket/prefix`, or `memory:` for trials",
        shown="`file:` under `data`",
    )
    s3_endpoint: str = setting("", PLACES, "URL of an S3 service other than Amazon's", shown="Amazon's")
    s3_region: str = setting("", PLACES, "region of the bucket", shown="as boto3 finds it")
    s3_connect_seconds: float = setting(3.0, PLACES, "time for S3 to accept a connection", least=0.1)
    s3_read_seconds: float = setting(15.0, PLACES, "time for S3 to go on answering", least=0.1)
    index: str = setting(
        "",
        PLACES,
        "where metadata lie: `sqlite:/file` or `postgresql://user:password@host/database`",
        shown="`sqlite:` under `data`",
    )
    scratch: Path = setting(
        Path(),
        PLACES,
        "folder for uploads under way; on the file system of `storage` they are moved, not copied",
        shown="`scratch` under `data`",
    )
    cache: Path = setting(
        Path(),
        PLACES,
        "folder for images that were transcoded, drawn, or asked of S3 again; may be emptied at any time",
        shown="`cache` under `data`",
    )

    viewers: Path = setting(
        Path(),
        PLACES,
        "folder of the viewers that `roentgate viewer install` installs",
        shown="`viewers` under `data`",
    )

    # -- http --------------------------------------------------------------------------------------------
    http_host: str = setting("127.0.0.1", HTTP, "address to listen on")
    http_port: int = setting(8080, HTTP, "port to listen on; 0 takes a free one", least=0, most=65535)
    insecure: bool = setting(
        False, HTTP, "allow an `http_host` that others can reach although anybody there may read and delete"
    )
    workers: int = setting(
        0,
        HTTP,
        "web processes; a second one stores a fourth more and reads up to twice as much, and needs 40 MB",
        shown="one per core, up to 4; with SQLite up to 2 on Linux, else 1",
        least=0,
        most=64,
    )
    server: Literal["hypercorn", "uvicorn"] = setting(
        "hypercorn", HTTP, "ASGI server: `hypercorn`, or `uvicorn` for tests"
    )
    public_url: str = setting(
        "", HTTP, "what clients call this server, for the URLs in answers", shown="as the request says"
    )
    trusted_proxies: tuple[str, ...] = setting(
        (), HTTP, "addresses or networks whose forwarding headers count (`proxy_headers`)", shown="none"
    )
    proxy_headers: Literal["x-forwarded", "forwarded"] = setting(
        "x-forwarded",
        HTTP,
        "which headers these proxies write: `x-forwarded` (`X-Forwarded-For` and its kin) or `forwarded` (RFC 7239);"
        " the others they hand on as clients wrote them",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        HTTP,
        "names under which clients may ask for this server, such as `*.hospital.example` or `*`; others are answered by"
        " 421. Addresses and the host of `public_url` always count",
        shown="`localhost` while it is open on loopback, else all",
    )
    path_prefix: str = setting("", HTTP, "path before all paths, for example `/pacs`", shown="none")
    cors_origins: tuple[str, ...] = setting(
        (), HTTP, "web pages that may call: `https://viewer.example`, or `*`", shown="none"
    )
    tls_cert: str = setting("", HTTP, "certificate chain (PEM file); read again when it changes", shown="no TLS")
    tls_key: str = setting("", HTTP, "its private key (PEM file)", shown="no TLS")
    tls_client_ca: str = setting(
        "", HTTP, "authorities (PEM file) of the certificates that clients must show", shown="none asked for"
    )
    keep_alive_seconds: float = setting(30.0, HTTP, "how long an idle connection stays open", least=1)
    graceful_seconds: float = setting(
        25.0, HTTP, "how long running requests may go on after SIGTERM", least=0, most=86400
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info", HTTP, "least that is logged: `debug`, `info`, `warning` or `error`"
    )
    log_format: Literal["text", "json"] = setting(
        "text", HTTP, "`text` for people, or `json`: one object a line, for programs that collect logs"
    )
    log_requests: bool = setting(
        False, HTTP, "log each request and association: its route, outcome, time and trace, no identifiers"
    )

    # -- access control ----------------------------------------------------------------------------------
    access: bool = setting(
        False,
        ACCESS,
        "ask who is calling; API keys are made by `roentgate key add`",
        shown="`false`, `true` with `oidc_issuer` or `tls_clients`",
    )
    access_remember_seconds: float = setting(
        5.0, ACCESS, "how long what was found of a key holds, and so how long it opens after it was revoked", least=0
    )
    access_failures: int = setting(
        30, ACCESS, "wrong keys or tokens a minute from one address, after which it is not listened to", least=1
    )

    tls_clients: tuple[str, ...] = setting(
        (),
        ACCESS,
        "what holders of client certificates may do, by the subject's common name: `ct3.hospital.example=read+write`",
        shown="none",
    )
    oidc_issuer: str = setting(
        "", ACCESS, "OpenID Connect issuer (https) whose access tokens are taken, as its tokens name it", shown="none"
    )
    oidc_audience: str = setting("", ACCESS, "what tokens must be meant for (`aud`)", shown="none")
    oidc_jwks_url: str = setting("", ACCESS, "where its keys are", shown="as the issuer describes itself")
    oidc_ca: str = setting("", ACCESS, "authorities (PEM file) of its certificate", shown="those of the system")
    oidc_client_id: str = setting(
        "", ACCESS, "what we are to the issuer, so that people can sign in to the explorer there", shown="none"
    )
    oidc_client_secret: str = setting("", ACCESS, "our secret with it", shown="none: a public client", secret=True)
    oidc_scopes: str = setting("openid", ACCESS, "scopes that are asked for then, with spaces between")
    session_hours: float = setting(
        12.0, ACCESS, "how long a browser keeps a sign-in; a token ends when it says", least=0.01
    )
    shares: bool = setting(
        False,
        ACCESS,
        "let those who have the role `share` make links to a study for people who have no key",
        shown="`true` with `access`",
    )
    share_days: float = setting(30.0, ACCESS, "for how long a link may be good at most", least=0.001, most=3660)
    oidc_algorithms: tuple[str, ...] = setting(
        ("RS256", "ES256"), ACCESS, "how tokens may be signed: RS, PS or ES with 256, 384 or 512, or EdDSA"
    )
    oidc_leeway_seconds: float = setting(
        60.0, ACCESS, "by how much the issuer's clock and ours may differ", least=0, most=600
    )
    oidc_keys_seconds: float = setting(
        600.0, ACCESS, "how old its keys may get before they are asked for again; while it is away they stay good",
        least=1,
    )  # fmt: skip
    oidc_name_claim: str = setting("sub", ACCESS, "claim with the name of whoever calls")
    oidc_roles_claim: str = setting("roles", ACCESS, "claim that gives roles, such as `realm_access.roles`")
    oidc_roles: tuple[str, ...] = setting(
        tuple(f"roentgate-{role}={role}" for role in ("view", "read", "write", "delete", "share", "admin")),
        ACCESS,
        "what its values mean: `value=role+role`",
    )
    oidc_studies_claim: str = setting(
        "", ACCESS, "claim with the Study Instance UIDs that the token is for, `*` for all", shown="none: for all"
    )
    oidc_patients_claim: str = setting(
        "", ACCESS, "claim with the patients that it is for: `ID` or `ID^^^ISSUER`, `*` for all", shown="none: for all"
    )
    oidc_nodes_claim: str = setting(
        "", ACCESS, "claim with the nodes that it is for, `*` for all", shown="none: for all"
    )

    delete_reason: bool = setting(
        False, ACCESS, "delete nothing without a reason: `DELETE` needs `?reason=`", shown="`true` with `access`"
    )
    audit: bool = setting(
        False, ACCESS, "record who did what, when, from where, and what came of it", shown="`true` with `access`"
    )
    audit_folder: Path = setting(
        Path(), ACCESS, "folder of the audit trail; `roentgate audit verify` checks it", shown="`audit` under `data`"
    )
    audit_sync: Literal["always", "second", "never"] = setting(
        "second",
        ACCESS,
        "when it is brought to the disk itself: `always` before an answer ends, each `second`, or `never`",
    )
    audit_file_bytes: int = setting(64 * MIB, ACCESS, "size at which its next file is begun", shown="64 MiB", least=MIB)
    audit_merge_seconds: float = setting(
        60.0, ACCESS, "for how long more of the same study to the same caller is counted in one record; 0 records each",
        least=0,
    )  # fmt: skip

    # -- archive and searches ----------------------------------------------------------------------------
    on_conflict: Literal["refuse", "keep", "replace"] = setting(
        "refuse",
        ARCHIVE,
        "an object comes with the SOP Instance UID of another one: `refuse` it, `keep` it out of sight, or"
        " let it `replace` the other",
    )
    empty_search_status: Literal[200, 204] = setting(
        200, ARCHIVE, "status of a search that finds nothing: 200 with `[]`, or 204"
    )
    search_page: int = setting(1000, ARCHIVE, "search results when the client names no `limit`", least=1)
    search_page_limit: int = setting(10_000, ARCHIVE, "most search results in one answer", least=1)
    scan_limit_instances: int = setting(100_000, ARCHIVE, "most instances read for a key that has no index", least=0)
    zero_preamble: bool = setting(
        False, ARCHIVE, "send 128 zeros instead of a file's own preamble", shown="`true` with `access`"
    )
    sweep_interval_seconds: float = setting(
        600.0, ARCHIVE, "time between two sweeps of what crashes and deletions left behind", least=1
    )
    abandoned_seconds: float = setting(3600.0, ARCHIVE, "age at which an unfinished store counts as given up", least=1)
    tombstone_days: float = setting(30.0, ARCHIVE, "how long a deletion is remembered, and answered by 410", least=0)

    # -- images ------------------------------------------------------------------------------------------
    codec_processes: int = setting(
        0,
        IMAGES,
        "processes in which each web process decodes, encodes and draws, started when first needed",
        shown="one per core, shared out among `workers`",
        least=0,
        most=256,
    )
    cache_memory_bytes: int = setting(
        64 * MIB,
        IMAGES,
        "images kept in memory by each web process: transcoded, drawn, frames of S3 played or asked for again",
        shown="64 MiB",
        least=0,
    )
    cache_disk_bytes: int = setting(
        4 * GIB, IMAGES, "the same in the folder `cache`; 0 keeps none there", shown="4 GiB", least=0
    )

    # -- limits ------------------------------------------------------------------------------------------
    limit_free_bytes: int = setting(
        GIB,
        LIMITS,
        "what stays free on the disks of `storage`, `scratch`, the index and the bridge's spool: below it nothing is"
        " stored (507, `A700`) while reads, searches and deletions go on; 0 lets disks fill up",
        shown="1 GiB",
        least=0,
    )
    limit_archive_bytes: int = setting(
        0, LIMITS, "most bytes of all stored objects, beyond which nothing is stored either", shown="none", least=0
    )
    limit_query_seconds: float = setting(
        30.0,
        LIMITS,
        "longest that a question to the index may take until it is stopped (503); 0 lets all go on",
        least=0,
    )
    limit_request_bytes: int = setting(8 * GIB, LIMITS, "largest request body", shown="8 GiB", least=1)
    limit_part_bytes: int = setting(8 * GIB, LIMITS, "largest part of one", shown="8 GiB", least=1)
    limit_parts: int = setting(20_000, LIMITS, "most parts in a request", least=1)
    limit_part_header_bytes: int = setting(16 * KIB, LIMITS, "largest header of a part", shown="16 KiB", least=256)
    limit_nesting: int = setting(64, LIMITS, "deepest nesting of sequences", least=1, most=200)
    limit_elements: int = setting(20_000_000, LIMITS, "most elements in an object", least=1)
    limit_items: int = setting(1_000_000, LIMITS, "most items in a sequence", least=1)
    limit_inflate_bytes: int = setting(GIB, LIMITS, "largest deflated data set once inflated", shown="1 GiB", least=1)
    limit_inflate_ratio: int = setting(200, LIMITS, "most inflated bytes per deflated one", least=1)
    inline_bytes: int = setting(
        1024, LIMITS, "largest binary value that stands in metadata; others become bulk data", least=0
    )
    limit_rate_bytes: int = setting(1000, LIMITS, "slowest upload, in bytes a second; 0 lets all go on", least=0)
    limit_rate_grace_seconds: float = setting(
        20.0, LIMITS, "how long an upload may be slower before it is cut", least=0.1
    )
    limit_stall_seconds: float = setting(
        60.0, LIMITS, "how long a client may take nothing of an answer before that is cut off", least=0.1
    )
    limit_resets: int = setting(
        500, LIMITS, "most HTTP/2 streams that a client may give up at once before it is cut off", least=1
    )
    limit_resets_rate: float = setting(
        50.0, LIMITS, "how many more of them it may give up a second as time goes on", least=0
    )
    limit_frame_pixels: int = setting(
        100_000_000, LIMITS, "most pixels of a frame that is decoded, and of a picture that is drawn", least=1
    )
    limit_codec_seconds: float = setting(30.0, LIMITS, "longest that one image may be worked on", least=0.1)
    limit_codec_bytes: int = setting(
        4 * GIB, LIMITS, "memory that working on one image may take", shown="4 GiB", least=64 * MIB
    )

    # -- bridge ------------------------------------------------------------------------------------------
    aet: str = setting("ROENTGATE", BRIDGE, "AE title")
    dimse_host: str = setting("127.0.0.1", BRIDGE, "address to listen on")
    dimse_port: int = setting(11112, BRIDGE, "port to listen on", least=0, most=65535)
    dimse_tls_port: int = setting(0, BRIDGE, "port to listen on with TLS", shown="none", least=0, most=65535)
    dimse_tls_cert: str = setting("", BRIDGE, "certificate chain (PEM file)", shown="none")
    dimse_tls_key: str = setting("", BRIDGE, "its private key (PEM file)", shown="none")
    dimse_tls_client_ca: str = setting("", BRIDGE, "authorities of the certificates that peers must show", shown="none")
    unknown_aets: str = setting(
        "",
        BRIDGE,
        "what AE titles that are no node may do: `refuse`, `everything`, or some of `echo+store+find+get+move`",
        shown="`everything` on loopback, else `refuse`",
    )
    check_called_aet: bool = setting(True, BRIDGE, "refuse associations that call another AE title than ours")
    private_sop_classes: bool = setting(
        False, BRIDGE, "store objects of SOP classes and in transfer syntaxes that the Standard does not list"
    )
    find_strict: bool = setting(
        False,
        BRIDGE,
        "refuse C-FIND and retrieval without Query/Retrieve Level, without the unique keys above it, or with keys of"
        " other levels where relational queries were not negotiated",
    )
    dimse_associations: int = setting(
        100, BRIDGE, "most associations at once, a quarter of which is kept for nodes", least=1, most=10_000
    )
    dimse_associations_per_peer: int = setting(
        25, BRIDGE, "most of them from one node, or from one address that is none", least=1
    )
    dimse_request_seconds: float = setting(
        30.0, BRIDGE, "time for an association request, and for a peer's answer to ours", least=0.1
    )
    dimse_idle_seconds: float = setting(600.0, BRIDGE, "how long an association may be silent", least=0.1)
    dimse_pdu_seconds: float = setting(60.0, BRIDGE, "time for a PDU that has begun, in and out", least=0.1)
    dimse_answer_seconds: float = setting(
        600.0, BRIDGE, "time for a peer to answer C-STORE and N-EVENT-REPORT", least=0.1
    )
    dimse_pdu_bytes: int = setting(256 * KIB, BRIDGE, "largest PDU", shown="256 KiB", least=4096, most=16 * MIB)
    dimse_message_bytes: int = setting(8 * GIB, BRIDGE, "largest data set of a message", shown="8 GiB", least=1)
    dimse_held_bytes: int = setting(
        4 * MIB, BRIDGE, "objects up to this size are held in memory, and sent again if need be", shown="4 MiB", least=0
    )
    dicomweb: str = setting("", BRIDGE, "DICOMweb root that the bridge serves", shown="this web server")
    dicomweb_ca: str = setting(
        "", BRIDGE, "authorities of that server's certificate (PEM file)", shown="those of the system"
    )
    dicomweb_connect_seconds: float = setting(5.0, BRIDGE, "time for that server to accept a connection", least=0.1)
    dicomweb_read_seconds: float = setting(120.0, BRIDGE, "time for it to go on answering", least=0.1)
    bridge_url: str = setting("", BRIDGE, "where the web server finds the bridge", shown="none")
    bridge_token: str = setting("", BRIDGE, "secret that the two share", shown="none", secret=True)
    ledger: Path = setting(
        Path(), BRIDGE, "SQLite file of the bridge's own jobs and refusals, in front of a server that keeps none",
        shown="`bridge/ledger.sqlite` under `data`",
    )  # fmt: skip
    bridge_host: str = setting(
        "", BRIDGE, "address where the bridge listens for the web server", shown="that of `bridge_url`"
    )
    health_host: str = setting("127.0.0.1", BRIDGE, "address where the bridge tells its health and measures")
    health_port: int = setting(
        0, BRIDGE, "port for that: `/health/live`, `/health/ready`, `/metrics`", shown="none", least=0, most=65535
    )
    job_attempts: int = setting(8, BRIDGE, "attempts at a job, with growing pauses, until it counts as failed", least=1)
    job_hours: float = setting(
        72.0, BRIDGE, "age of a job before which it does not count as failed for a reason that may pass", least=0
    )
    job_days: float = setting(30.0, BRIDGE, "how long jobs that are over are listed", least=0)
    visit_hours: float = setting(
        24.0, BRIDGE, "how long what `/aets` fetched from a node for a viewer is kept beside the archive", least=0.1
    )
    spool: bool = setting(
        False, BRIDGE, "answer C-STORE once it lies on the bridge's own disk, in `bridge` under `data`"
    )
    spool_bytes: int = setting(10 * GIB, BRIDGE, "most that waits there", shown="10 GiB", least=1)
    spool_commitment_seconds: float = setting(
        120.0,
        BRIDGE,
        "with `spool`, for so long storage commitment waits for absent objects, which may lie in another bridge's"
        " spool, before it says that they are missing (0112)",
        least=0,
    )

    # -- not settings ------------------------------------------------------------------------------------
    origins: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)
    files: Mapping[str, Path] = dataclasses.field(default_factory=dict, compare=False)
    notices: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Fill in defaults that depend on others, and check what does not go together.

        Raises:
            BadSetting: a value is out of bounds or contradicts another.
        """
        for spec in settings():
            spec.check(getattr(self, spec.name))
        fill = object.__setattr__
        data = Path(os.path.abspath(Path(self.data).expanduser()))
        fill(self, "data", data)
        fill(self, "storage", self.storage or f"file:{data / 'files'}")
        fill(self, "index", self.index or f"sqlite:{data / 'index.sqlite'}")
        for name, below in _BELOW_DATA.items():
            path = getattr(self, name)
            fill(self, name, data / below if path == Path() else Path(os.path.abspath(path)))
        fill(self, "public_url", self.public_url.rstrip("/"))
        prefix = self.path_prefix.strip("/")
        fill(self, "path_prefix", f"/{prefix}" if prefix else "")
        if not self.workers:
            several = 4 if not self.index.startswith("sqlite:") else 2 if sys.platform == "linux" else 1
            most = 1 if self._in_memory() else several
            fill(self, "workers", min(os.cpu_count() or 1, most))
        if not self.codec_processes:
            fill(self, "codec_processes", max(-(-(os.cpu_count() or 1) // self.workers), 1))
        if not self.unknown_aets:
            fill(self, "unknown_aets", "everything" if is_loopback(self.dimse_host) else "refuse")
        if not self.dicomweb:
            fill(self, "dicomweb", f"{self.local_url()}/dicom-web")
        if (self.oidc_issuer or self.tls_clients) and "access" not in self.origins:
            fill(self, "access", True)
        for name in _WITH_ACCESS:
            if self.access and name not in self.origins:
                fill(self, name, True)
        self._check_together()

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{spec.name}={text}' for spec, text, _ in self.shown())})"

    def _in_memory(self) -> bool:
        """Whether something is kept in the memory of one process, so that another one would not see it."""
        return self.storage.startswith("memory:") or self.index == "sqlite::memory:"

    def _check_together(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise BadSetting("tls_cert and tls_key go together: name both or neither.")
        if self.tls_client_ca and not self.tls_cert:
            raise BadSetting("tls_client_ca asks clients for certificates, which needs tls_cert and tls_key.")
        if bool(self.dimse_tls_cert) != bool(self.dimse_tls_key):
            raise BadSetting("dimse_tls_cert and dimse_tls_key go together: name both or neither.")
        if self.search_page > self.search_page_limit:
            raise BadSetting("search_page is larger than search_page_limit.")
        if self.workers > 1 and self._in_memory():
            raise BadSetting(
                "workers must be 1 with storage memory: or index sqlite::memory:, which each process would have for"
                " itself."
            )
        if self.oidc_issuer and not self.oidc_audience:
            raise BadSetting("oidc_issuer needs oidc_audience: tokens that are meant for others open nothing here.")
        if self.tls_clients and not (self.access and self.tls_client_ca and self.server == "hypercorn"):
            raise BadSetting("tls_clients needs tls_client_ca, access, and server hypercorn.")
        if self.shares and not self.access:
            raise BadSetting(
                "shares needs access = true: where nobody is asked who he is, a link to one study leads to all of them."
            )
        if self.oidc_issuer and not self.access:
            raise BadSetting("oidc_issuer is set and access is off: set access = true, or no issuer.")
        for name in ("oidc_issuer", "oidc_jwks_url", "public_url", "s3_endpoint", "dicomweb", "bridge_url"):
            _check_url(name, getattr(self, name))
        for network in self.trusted_proxies:
            try:
                ipaddress.ip_network(network, strict=False)
            except ValueError as error:
                raise BadSetting(
                    f"trusted_proxies holds {network!r}, which is no address or network such as 10.0.0.0/8."
                ) from error
        for origin in self.cors_origins:
            if origin != "*" and not re.fullmatch(r"https?://[^/?#\s]+", origin):
                raise BadSetting(
                    f"cors_origins holds {origin!r}; an origin looks like https://viewer.example, or is *."
                )
        rights = set(self.unknown_aets.split("+"))
        if self.unknown_aets not in {"everything", "refuse"} and not rights <= set(_RIGHTS):
            raise BadSetting(
                f"unknown_aets is {self.unknown_aets!r}; it is refuse, everything, or some of {'+'.join(_RIGHTS)}."
            )

    @classmethod
    def read(
        cls,
        environ: Mapping[str, str],
        file: Path | None = None,
        given: Mapping[str, object] | None = None,
    ) -> "Config":
        """Take settings from the command line, the environment and a file, in that order.

        Args:
            environ: usually `os.environ`; names that do not begin with `ROENTGATE_` are not looked at.
            file: TOML file with one `name = value` per setting. None is the one that `ROENTGATE_CONFIG`
                names, else `roentgate.toml` in the current folder if there is one.
            given: settings by name from the command line; None values do not count.

        Raises:
            BadSetting: an unknown name (the sentence says the nearest known one), a value that does not fit,
                or a file that cannot be read.
        """
        told = Given({spec.name: spec for spec in settings()})
        named = file or (Path(environ[FILE]) if environ.get(FILE) else None)
        path = named or Path("roentgate.toml")
        if named is not None or path.is_file():
            told.take_file(path)
        told.take_environment(environ, IN_FILES)
        told.take_options(given or {})
        return cls(**told.values, origins=told.origins, files=told.files, notices=tuple(told.notices))

    def index_now(self) -> str:
        """`index`, read again if it stands in a file; as it was where the file cannot be read."""
        if "index" not in self.files:
            return self.index
        try:
            return read_secret(self.files["index"], "ROENTGATE_INDEX_FILE")
        except BadSetting:
            return self.index

    def check_exposure(self) -> None:
        """Refuse to be reachable from elsewhere while nothing asks who is calling.

        Raises:
            BadSetting: `http_host` is no loopback address, neither `access` is on nor client certificates are asked
                for, and `insecure` is not set.
        """
        if not (is_loopback(self.http_host) or self.access or self.tls_client_ca or self.insecure):
            raise BadSetting(
                f"http_host is {self.http_host}, which other machines can reach, and there is no access"
                " control: anybody there could read and delete. Set access = true to ask for keys and tokens,"
                " tls_client_ca to ask for client certificates, or insecure = true (--insecure) if something in"
                " front asks who is calling."
            )

    def host_names(self) -> tuple[str, ...] | None:
        """The names under which requests may ask for the server, addresses aside; None if any will do."""
        if not self.allowed_hosts and (self.access or not is_loopback(self.http_host)):
            return None
        public = urlsplit(self.public_url).hostname or ""
        return tuple(filter(None, ("localhost", self.http_host, public, *self.allowed_hosts)))

    def local_url(self, port: int | None = None) -> str:
        """The server's root as seen from this machine, without a slash at the end; `port` where another than
        `http_port` was bound."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.http_host, self.http_host)
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{host}:{port or self.http_port}{self.path_prefix}"

    def shown(self) -> Iterator[tuple[Setting, str, str]]:
        """Yield each setting, its value as text without secrets, and where it came from."""
        for spec in settings():
            yield spec, spec.show(getattr(self, spec.name)), self.origins.get(spec.name, "default")


_SPECS: list[Setting] = []


def settings() -> list[Setting]:
    """Every setting, in the order of Config."""
    if not _SPECS:
        kinds = get_type_hints(Config)
        for field in dataclasses.fields(Config):
            if field.metadata:
                kind = kinds[field.name]
                choices: tuple[Any, ...] = ()
                if get_origin(kind) is Literal:
                    choices = get_args(kind)
                    kind = type(choices[0])
                kind = get_origin(kind) or kind
                _SPECS.append(Setting(field.name, kind, field.default, choices=choices, **dict(field.metadata)))
    return _SPECS


def write_table() -> str:
    """The settings as Markdown tables, one per group: the text between the marks in README."""
    lines: list[str] = []
    for group, title in GROUPS.items():
        lines += [f"**{title}**", "", "| setting | default | meaning |", "|---|---|---|"]
        lines += [f"| `{spec.name}` | {spec.default_text} | {spec.doc} |" for spec in settings() if spec.group == group]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. A name other than localhost counts as reachable."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _check_url(name: str, url: str) -> None:
    if url:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise BadSetting(f"{name} is {mask(url)!r}; it should look like https://pacs.example/path.")
