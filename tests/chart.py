"""Writes helm/values.schema.json: shaped like values.yaml, with the settings of the code (`make readme`)."""

import json
from pathlib import Path
from typing import Any

import yaml

from dicomweb.config import settings

ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm"
SCHEMA = CHART / "values.schema.json"

# What the chart sets by values of its own, or what only makes sense on a machine that is no pod.
OURS = {
    *("data", "scratch", "cache", "viewers", "ledger", "index", "storage", "s3_endpoint", "s3_region", "server"),
    *("http_host", "http_port", "insecure", "workers", "codec_processes", "tls_cert", "tls_key", "tls_client_ca"),
    *("access", "oidc_issuer", "oidc_audience", "graceful_seconds", "log_format", "log_requests"),
    *("aet", "unknown_aets", "dimse_host", "dimse_port", "dimse_tls_port", "dimse_tls_cert", "dimse_tls_key"),
    *("dimse_tls_client_ca", "dicomweb", "bridge_url", "bridge_token", "bridge_host", "health_host", "health_port"),
    "spool",
}  # fmt: skip
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_SECONDS = {"type": "integer", "minimum": 0}
_COUNT = {"type": "integer", "minimum": 1}
_SERVICE = {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}
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
    "bridge.service.nodePort": {"type": ["integer", "null"], "minimum": 30000, "maximum": 32767},
    "bridge.service.externalTrafficPolicy": {"enum": ["Local", "Cluster"]},
    "drain.preStopSeconds": _SECONDS,
    "drain.gracefulSeconds": _SECONDS,
    "drain.terminationGracePeriodSeconds": _COUNT,
}  # fmt: skip
# Free by their nature: what stands there is Kubernetes' own.
FREE = ("resources", "affinity")
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
    if isinstance(value, dict):
        if not value or path.rpartition(".")[2] in FREE:
            return {"type": "object"}
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
