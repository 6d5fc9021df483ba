"""`/aets`: what can be done with nodes: an echo, jobs that send to one or retrieve from one. An extension.

DICOMweb in front of a node is in `fronts`.
"""

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.errors import BadRequest, NotFound
from dicomweb.standard import resources
from dicomweb.standard.nodes import Node, write_node
from dicomweb.web import jobs, jsonbodies
from dicomweb.web.access import nodes_of
from dicomweb.web.addresses import Addresses
from dicomweb.web.threads import hop_elsewhere, hop_index

_MOST_RESOURCES = 10_000
_LEVELS = ("study", "series", "instance")
_DAY = 86_400.0


async def listing(request: Request) -> Response:
    """GET /aets: the nodes that can be called, and where DICOMweb in front of each begins."""
    addresses: Addresses = request.app.state.addresses
    root = addresses.root(request.scope)
    nodes = await hop_index(request.app.state.nodes.all)
    known = nodes_of(request)
    return jsonbodies.respond(
        {
            "aets": [
                {"name": node.name, "aet": node.aet, "kind": node.kind, "url": f"{root}/aets/{node.name}"}
                for node in nodes.values()
                if (node.host or node.url) and (known is None or node.name in known)
            ]
        }
    )


async def echo(request: Request) -> Response:
    """POST /aets/{aet}/echo: whether it can be reached, and which layer is the last that was: name, tcp, tls,
    association, status."""
    return jsonbodies.respond(await hop_elsewhere(_echo, request))


def _echo(request: Request) -> dict[str, Any]:
    node: Node = request.app.state.nodes.get(request.path_params["aet"])
    layers = request.app.state.bridge.ask("/echo", {"node": write_node(node, secrets=True)})
    reached = [layer["name"] for layer in layers if layer["ok"]]
    ok = bool(layers) and all(layer["ok"] for layer in layers)
    last = layers[-1]["detail"] if layers else ""
    return {"ok": ok, "reached": reached[-1] if reached else "", "detail": last, "layers": layers}


async def send(request: Request) -> Response:
    """POST /aets/{aet}/send: a job that sends patients, studies, series or instances of the archive to the node."""
    value = await jsonbodies.read(request)
    return await hop_index(_add, request, "send", {"resources": read_resources(value)})


async def retrieve(request: Request) -> Response:
    """POST /aets/{aet}/retrieve: a job that brings some of what the node has to a `destination`: another node, or
    the archive where none is named."""
    value = await jsonbodies.read(request)
    destination = value.get("destination", "")
    if not isinstance(destination, str):
        raise BadRequest("destination is the name of a node, or is left out for the archive")
    if destination == request.path_params["aet"]:
        raise BadRequest("destination is the node itself")
    return await hop_index(_add, request, "retrieve", {"resources": read_resources(value), "destination": destination})


def _add(request: Request, kind: str, task: Mapping[str, Any]) -> Response:
    nodes, archive = request.app.state.nodes, request.app.state.archive
    node = nodes.get(request.path_params["aet"])
    if task.get("destination"):
        nodes.get(task["destination"])
        if (known := nodes_of(request)) is not None and task["destination"] not in known:
            raise NotFound(f"there is no node {task['destination']!r}; nodes.toml or /nodes can add it")
    archive.index.jobs.forget(time.time() - archive.config.job_days * _DAY)
    job = archive.index.jobs.add(kind, node.name, task)
    addresses: Addresses = request.app.state.addresses
    where = f"{addresses.root(request.scope)}/jobs/{job.id}"
    return jsonbodies.respond(jobs.write(job), 202, {"location": where})


def read_resources(value: Mapping[str, Any]) -> list[dict[str, str]]:
    """Read `resources`: objects with `patient` (and `issuer`), or `study`, `series`, `instance` as far down as is
    meant.

    Raises:
        BadRequest: there are none, or one is none.
    """
    given = value.get("resources")
    if not isinstance(given, list) or not given or len(given) > _MOST_RESOURCES:
        raise BadRequest(f'resources is a list of 1 to {_MOST_RESOURCES:,} objects such as {{"study": UID}}')
    return [_read_resource(one) for one in given]


def _read_resource(one: object) -> dict[str, str]:
    if not isinstance(one, dict) or not all(isinstance(text, str) and text for text in one.values()):
        raise BadRequest("a resource is an object of texts")
    if set(one) - {"patient", "issuer", *_LEVELS}:
        raise BadRequest("a resource has patient and issuer, or study, series, instance")
    if "patient" in one:
        if set(one) & set(_LEVELS):
            raise BadRequest("a resource names a patient, or a study and what is below it, not both")
        return {name: str(one[name]) for name in ("patient", "issuer") if name in one}
    named = [level for level in _LEVELS if level in one]
    if not named or named != list(_LEVELS[: len(named)]) or "issuer" in one:
        raise BadRequest("a resource names its study, and its series with an instance")
    return {level: resources.read_uid(one[level]) for level in named}
