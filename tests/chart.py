"""Writes what is made from helm/values.yaml (`make readme`): values.schema.json, with the settings of the code, and the
table in helm/README.md."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dicomweb.config import settings
from dicomweb.standard.nodes import Node

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm"
SCHEMA = CHART / "values.schema.json"
README = CHART / "README.md"

# What the chart sets by values of its own, or what only makes sense on a machine that is no pod.
OURS = {
    *("data", "scratch", "cache", "viewers", "ledger", "index", "storage", "s3_endpoint", "s3_region", "server"),
    *("http_host", "http_port", "insecure", "workers", "codec_processes", "tls_cert", "tls_key", "tls_client_ca"),
    *("access", "oidc_issuer", "oidc_audience", "graceful_seconds", "log_format", "log_requests"),
    *("aet", "unknown_aets", "dimse_host", "dimse_port", "dimse_tls_port", "dimse_tls_cert", "dimse_tls_key"),
    *("dimse_tls_client_ca", "dicomweb", "bridge_url", "bridge_token", "bridge_host", "health_host", "health_port"),
    *("spool", "limit_codec_bytes"),
}  # fmt: skip
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_SECONDS = {"type": "integer", "minimum": 0}
_COUNT = {"type": "integer", "minimum": 1}
_SERVICE = {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}
_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}
_LISTED = {"type": "array", "items": _TEXT}
_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_POLICY = {"enum": ["Local", "Cluster"]}
_NODE_PORT = {"type": ["integer", "null"], "minimum": 30000, "maximum": 32767}
_CIDR = {"type": "string", "pattern": "^[0-9A-Fa-f.:]+/[0-9]{1,3}$"}
_CIDRS = {"type": "array", "items": _CIDR}
_KINDS = {"str": "string", "int": "integer", "bool": "boolean", "tuple": "array"}
_NODE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        one.name: {"type": _KINDS.get(one.type.__name__, "string")}
        for one in dataclasses.fields(Node)
        if one.name != "name"
    },
}
# What the type of a default does not say.
NARROWER: dict[str, dict[str, Any]] = {
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "index.kind": {"enum": ["sqlite", "postgresql"]},
    "storage.kind": {"enum": ["file", "s3"]},
    "auth.mode": {"enum": ["keys", "oidc", "none"]},
    "web.replicas": {"type": "integer", "minimum": 0},
    "web.workers": {"type": "integer", "minimum": 1, "maximum": 64},
    "web.codecProcesses": _COUNT,
    "web.codecBytes": {"type": "integer", "minimum": 1 << 26},
    "web.service.type": _SERVICE,
    "web.service.port": _PORT,
    "web.autoscaling.minReplicas": _COUNT,
    "web.autoscaling.maxReplicas": _COUNT,
    "web.autoscaling.cpuPercent": {"type": "integer", "minimum": 1, "maximum": 100},
    "web.autoscaling.scaleDownSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
    "bridge.replicas": {"type": "integer", "minimum": 0},
    "bridge.aet": {"type": "string", "pattern": r"^[^\\\s](.{0,14}[^\\\s])?$"},
    "bridge.spool.drainSeconds": _SECONDS,
    "bridge.tls.port": _PORT,
    "bridge.service.type": _SERVICE,
    "bridge.service.port": _PORT,
    "bridge.service.nodePort": _NODE_PORT,
    "bridge.service.externalTrafficPolicy": _POLICY,
    "bridge.service.loadBalancerSourceRanges": _CIDRS,
    "bridge.moreServices": {
        "type": "array",
        "items": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,11}[a-z0-9])?$"},
                "type": _SERVICE,
                "port": _PORT,
                "nodePort": _NODE_PORT,
                "loadBalancerClass": _TEXT,
                "externalTrafficPolicy": _POLICY,
                "loadBalancerSourceRanges": _CIDRS,
                "annotations": _TEXTS,
            },
        },
    },
    "web.httpRoute.hostnames": _LISTED,
    "bridge.tlsRoute.hostnames": _LISTED,
    "persistence.accessModes": _LISTED,
    "networkPolicy.dimseFrom": {"type": "array", "items": {"anyOf": [_CIDR, _OBJECT]}},
    "nodes": {"type": "object", "additionalProperties": _NODE},
    "migrations.deadlineSeconds": _COUNT,
    "drain.preStopSeconds": _SECONDS,
    "drain.gracefulSeconds": _SECONDS,
    "drain.terminationGracePeriodSeconds": _COUNT,
}  # fmt: skip
# What stands there is Kubernetes' own.
FREE = {
    **dict.fromkeys(("resources", "affinity", "dnsConfig", "podSecurityContext", "timeouts"), _OBJECT),
    **dict.fromkeys(("annotations", "podAnnotations", "podLabels", "labels", "commonLabels", "nodeSelector"), _TEXTS),
    **dict.fromkeys(("parentRefs", "extraEnv", "extraVolumes", "extraVolumeMounts", "initContainers"), _OBJECTS),
    **dict.fromkeys(("extraContainers", "tolerations", "imagePullSecrets", "extraObjects", "webFrom"), _OBJECTS),
    **dict.fromkeys(("metricsFrom", "egress", "hostAliases"), _OBJECTS),
}
_TYPES: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    str: {"type": "string"},
    int: {"type": "integer"},
    list: {"type": "array"},
}


def write_schema() -> str:
    """The text of values.schema.json."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = _shape(values, "")
    schema["properties"]["settings"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {spec.name: _setting(spec) for spec in settings() if spec.name not in OURS and not spec.secret},
    }
    # Helm puts this into the values of every chart
    schema["properties"]["global"] = {"type": "object"}
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **schema}, indent=1) + "\n"


def _shape(value: Any, path: str) -> dict[str, Any]:
    if path in NARROWER:
        return NARROWER[path]
    if path.rpartition(".")[2] in FREE:
        return FREE[path.rpartition(".")[2]]
    if isinstance(value, dict):
        parts = {name: _shape(each, f"{path}.{name}".strip(".")) for name, each in value.items()}
        return {"type": "object", "additionalProperties": False, "properties": parts}
    return _TYPES[type(value)]


def _setting(spec: Any) -> dict[str, Any]:
    if spec.choices:
        return {"enum": list(spec.choices), "description": spec.doc}
    kind: dict[str, Any] = {"type": "string"}
    if spec.kind is bool:
        kind = {"type": "boolean"}
    elif spec.kind is int:
        kind = {"type": ["integer", "string"]}
    elif spec.kind is float:
        kind = {"type": "number"}
    elif spec.kind is tuple:
        kind = {"type": "array", "items": {"type": "string"}}
    return {**kind, "description": spec.doc}


_LINE = re.compile(r"( *)(\w+):(?: (.*))?$")


def write_values() -> str:
    """The values as a Markdown table: the text between the marks in helm/README.md."""
    rows = [f"| `{name}` | {default} | {doc} |" for name, default, doc in _values()]
    return "\n".join(["| value | default | what |", "|---|---|---|", *rows]) + "\n"


def _values() -> Iterator[tuple[str, str, str]]:
    """Each value that can be set, its default, and the comment above it; that of a group stands at its first value."""
    path: list[str] = []
    comments: list[str] = []
    group = ""
    for line in (CHART / "values.yaml").read_text().splitlines()[1:]:
        if line.strip().startswith("#"):
            comments.append(line.strip().removeprefix("#").strip())
        elif not line.strip():
            comments = []
        else:
            found = _LINE.match(line)
            assert found, line
            path = [*path[: len(found[1]) // 2], found[2]]
            doc = " ".join(comments)
            comments = []
            if found[3] is None:
                group = f"{group} {doc}".strip()
                continue
            yield ".".join(path), f"`{found[3]}`", f"{group} {doc}".strip().replace("|", "\\|")
            group = ""
