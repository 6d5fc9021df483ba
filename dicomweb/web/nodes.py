"""`/nodes`: the settings of nodes, read and changed while everything runs. An extension.

Secrets go out masked, and a mask that comes back keeps what is there; the bridge alone is told them.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from dicomweb.archive.nodes import Nodes
from dicomweb.standard.nodes import Node, write_node
from dicomweb.web import jsonbodies
from dicomweb.web.access import nodes_of
from dicomweb.web.threads import hop_index


async def listing(request: Request) -> Response:
    """GET /nodes: all nodes, and what is wrong with `nodes.toml` if it cannot be used."""
    nodes: Nodes = request.app.state.nodes
    found, known = await hop_index(nodes.all), nodes_of(request)
    value: dict[str, Any] = {
        "nodes": [write(request, node) for node in found.values() if known is None or node.name in known]
    }
    if problem := nodes.problem():
        value["problem"] = problem
    return jsonbodies.respond(value)


async def one(request: Request) -> Response:
    """GET /nodes/{node}: its settings."""
    return jsonbodies.respond(write(request, await hop_index(request.app.state.nodes.get, request.path_params["node"])))


async def change(request: Request) -> Response:
    """PUT /nodes/{node}: add a node, or give it these settings in place of all it had."""
    value = await jsonbodies.read(request)
    return jsonbodies.respond(
        write(request, await hop_index(request.app.state.nodes.put, request.path_params["node"], value))
    )


async def remove(request: Request) -> Response:
    """DELETE /nodes/{node}: 204 once it is gone."""
    await hop_index(request.app.state.nodes.delete, request.path_params["node"])
    return Response(status_code=204)


def write(request: Request, node: Node) -> dict[str, Any]:
    """Write a node for whoever asks: the bridge needs its secrets, nobody else is told."""
    return write_node(node, secrets=request.app.state.bridge.is_calling(request))
