"""The API over HTTP: routes, the bearer token, formats of answers, and refusals as `Status` documents.

Requests for objects go to `objects.py` and `removing.py`, discovery and schemas to their pure modules. A request that
was answered is not logged; one that broke is logged by its path and the error's place, never with a body.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import structlog
from starlette import applications, convertors, routing
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from app import errors
from app.sandbox import (
    bodies,
    discovering,
    faults,
    kinds,
    objects,
    openapi,
    paging,
    problems,
    removing,
    rendering,
    requests,
    reviewing,
    streaming,
)

_LOG = structlog.get_logger(__name__)
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"]
_UNCACHED = {"Cache-Control": "no-cache, private"}
# What a discovery client checks before it believes that it got one document.
_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
_CREATED = 201

_Handler = Callable[[Request], Awaitable[Response]]


class _Any(convertors.PathConvertor):
    """Any path: the name of a Role may hold a newline, at which Starlette's own kind of path ends."""

    regex = "(?s:.*)"


convertors.register_url_convertor("any", _Any())


@dataclasses.dataclass(frozen=True)
class Server:
    """What answers requests."""

    cluster: objects.Objects
    remover: removing.Remover
    hub: streaming.Hub
    troubles: faults.Faults
    token: str

    def application(self) -> applications.Starlette:
        """The API as an ASGI application."""
        documents: dict[str, Callable[[Request], Any]] = {
            "/version": lambda _: discovering.version(),
            "/api": lambda request: self._discovered(request, core=True),
            "/apis": lambda request: self._discovered(request, core=False),
            "/api/{version}": lambda request: self._resources("", request.path_params["version"]),
            "/apis/{group}": lambda request: discovering.group(self._registry, request.path_params["group"]),
            "/apis/{group}/{version}": lambda request: self._resources(**request.path_params),
            "/openapi/v3": lambda _: openapi.index(self._registry),
            "/openapi/v3/api/{version}": lambda request: self._schemas("", request.path_params["version"]),
            "/openapi/v3/apis/{group}/{version}": lambda request: self._schemas(**request.path_params),
        }
        return applications.Starlette(
            routes=[
                *[routing.Route(path, _healthy) for path in ("/healthz", "/livez", "/readyz")],
                *[self._route(path, self._document(give), ["GET"]) for path, give in documents.items()],
                self._route("/openapi/v2", _second_openapi, ["GET"]),
                self._route("/{path:any}", self._objects_of, _METHODS),
            ]
        )

    @property
    def _registry(self) -> kinds.Registry:
        return self.cluster.registry

    def _route(self, path: str, handler: _Handler, methods: list[str]) -> routing.Route:
        async def endpoint(request: Request) -> Response:
            try:
                self._authenticate(request)
                return await handler(request)
            except problems.Refused as refused:
                return _refusal(refused)
            except ClientDisconnect:
                return Response(status_code=_BAD_REQUEST)
            except Exception as error:  # noqa: BLE001 - a broken request must not take the server along.
                return _refusal(_broken(request, error))

        return routing.Route(path, endpoint, methods=methods)

    def _authenticate(self, request: Request) -> None:
        """Raises Refused (401)."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Clients in a pod write the scheme in small letters.
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            raise problems.Refused(code=401, reason="Unauthorized", message="Unauthorized")

    def _document(self, give: Callable[[Request], Any]) -> _Handler:
        async def handler(request: Request) -> Response:
            return _json(give(request), headers=_tags(request))

        return handler

    def _discovered(self, request: Request, *, core: bool) -> Any:
        version = requests.accept_of(request.headers.get("accept", "")).discovery
        if version:
            return discovering.aggregated(self._registry, core=core, version=version)
        return discovering.api_versions() if core else discovering.groups(self._registry)

    def _resources(self, group: str, version: str) -> Any:
        return discovering.resources(self._registry, group, version)

    def _schemas(self, group: str, version: str) -> Any:
        return openapi.document(self._registry, group, version)

    async def _objects_of(self, request: Request) -> Response:
        path = request.scope["raw_path"].decode("latin-1")
        target = requests.target_of(path)
        query = dict(request.query_params)
        # Now, before a body is read that nobody would look at; and again when it is there.
        kind = self._kind(target)
        verb = requests.verb_of(request.method, named=bool(target.name), query=query)
        _check_shape(kind, target, verb)
        # With the query, so that a fault can meet the later pages of a list alone.
        address = f"{path}?{request.url.query}" if request.url.query else path
        met = await self._suffer(verb, address)
        if met and met.kind == "stale":
            query |= {"resourceVersionMatch": "Exact", "resourceVersion": str(met.at)}
            met = None
        call = await _read(request, target, verb, query)
        # While we waited, the type may have gone, or have lost a subresource.
        kind = self._kind(target)
        _check_shape(kind, target, verb)
        if verb == "watch":
            return self._stream(kind, call, path=address, met=met)
        if met and met.kind == "empty":
            return self._many(kind, call, paging.nothing(self.cluster.store))
        if met:
            raise met.refusal()
        return self._answer(kind, call)

    def _kind(self, target: requests.Target) -> kinds.Kind:
        """The type of a path, as it is served now. Raises Refused (404)."""
        return self._registry.find(target.group, target.version, target.resource)

    async def _suffer(self, verb: str, path: str) -> faults.Fault | None:
        """Wait out the delays that tests asked for, and give the answer that they asked for."""
        answer = None
        for fault in self.troubles.meeting(verb=verb, path=path):
            if fault.kind == "delay":
                await asyncio.sleep(fault.seconds)
            else:
                answer = fault
        return answer

    def _answer(self, kind: kinds.Kind, call: requests.Call) -> Response:
        if kind in reviewing.KINDS:
            return _json(reviewing.review(kind, call), status=_CREATED)
        match call.verb:
            case "get":
                return self._one(kind, call, objects.Answer(200, self.cluster.get(kind, call)))
            case "list":
                return self._many(kind, call, paging.page(self.cluster.store, kind, call))
            case "deletecollection":
                return self._many(kind, call, self.remover.delete_collection(kind, call))
        verbs = {"create": self.cluster.create, "update": self.cluster.update, "patch": self.cluster.patch}
        return self._one(kind, call, {**verbs, "delete": self.remover.delete}[call.verb](kind, call))

    def _one(self, kind: kinds.Kind, call: requests.Call, answer: objects.Answer) -> Response:
        """An object, or a document that stands for one: a Scale, a Status."""
        found = answer.object
        if found.get("kind") not in {"Scale", "Status"}:
            found = rendering.one(self._registry, kind, found, call=call)
        warnings = [f"299 - {problems.quoted(one)}" for one in answer.warnings]
        return _json(found, status=answer.code, media=call.accept.media, warnings=warnings)

    def _many(self, kind: kinds.Kind, call: requests.Call, page: paging.Page) -> Response:
        document = rendering.many(self._registry, kind, page.items, call=call, metadata=page.metadata)
        return _json(document, media=call.accept.media)

    def _stream(
        self, kind: kinds.Kind, call: requests.Call, *, path: str, met: faults.Fault | None
    ) -> StreamingResponse:
        if met and not met.in_stream:
            raise met.refusal()
        try:
            refused = met.refusal() if met else None
            watch = self.cluster.watch(kind, call, path=path)
        except problems.Refused as found:
            # An expired resourceVersion is told within the stream, as the real server does.
            if found.code != _GONE:
                raise
            refused = found
        lines = _only(refused) if refused else self.hub.open(watch).lines()
        return StreamingResponse(lines, media_type=bodies.JSON, headers=_UNCACHED)


_BAD_REQUEST = 400
_GONE = 410


async def _only(refused: problems.Refused) -> AsyncIterator[bytes]:
    yield streaming.event_line("ERROR", refused.status)


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok")


async def _read(
    request: Request, target: requests.Target, verb: requests.Verb, query: Mapping[str, str]
) -> requests.Call:
    headers = request.headers
    return requests.Call(
        verb=verb,
        target=target,
        query=query,
        accept=requests.accept_of(headers.get("accept", "")),
        content_type=headers.get("content-type", "").partition(";")[0].strip().lower(),
        manager=requests.manager_of(headers.get("user-agent", "")),
        body=b"" if verb in {"get", "list", "watch"} else await _body(request),
    )


async def _body(request: Request) -> bytes:
    """The body. Raises Refused (413) before one is read that is too large."""
    limit = requests.LARGEST_BODY
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > limit:
            raise problems.too_large(f"Request entity too large: limit is {limit}")
    return bytes(found)


async def _second_openapi(request: Request) -> Response:
    """A document without types, as JSON or in the protobuf that kubectl asks for."""
    if "proto-openapi" in request.headers.get("accept", ""):
        return Response(openapi.V2_BYTES, media_type=openapi.V2_MEDIA)
    return _json(openapi.V2_JSON)


def _check_shape(kind: kinds.Kind, target: requests.Target, verb: requests.Verb) -> None:
    """Refuse paths and verbs that the type does not have. Raises Refused (404, 405)."""
    if target.subresource and target.subresource not in kind.subresources:
        raise problems.not_served()
    if target.namespace and not kind.namespaced:
        raise problems.not_served()
    if kind.namespaced and not target.namespace and (target.name or verb in {"create", "deletecollection"}):
        raise problems.method_not_allowed() if verb == "create" else problems.not_served()
    allowed = {"get", "update", "patch"} if target.subresource else set(kind.verbs)
    if verb not in allowed:
        raise problems.method_not_allowed()


def _tags(request: Request) -> dict[str, str]:
    """The content type of an aggregated discovery document."""
    version = ""
    if request.url.path in {"/api", "/apis"}:
        version = requests.accept_of(request.headers.get("accept", "")).discovery
    return {"Content-Type": _AGGREGATED.format(version)} if version else {}


def _json(
    document: Any,
    *,
    status: int = 200,
    media: str = bodies.JSON,
    headers: Mapping[str, str] | None = None,
    warnings: list[str] | None = None,
) -> Response:
    response = Response(
        bodies.encode(document, media),
        status_code=status,
        headers={**_UNCACHED, "Content-Type": media, **(headers or {})},
    )
    for warning in warnings or ():
        response.headers.append("Warning", warning)
    return response


def _refusal(refused: problems.Refused) -> Response:
    return _json(refused.status, status=refused.code, headers=refused.headers)


def _broken(request: Request, error: Exception) -> problems.Refused:
    """Say what broke: the disk where it is the disk, else our own fault."""
    place = {"method": request.method, "path": request.url.path, "error": type(error).__name__}
    if isinstance(error, sqlite3.Error):
        _LOG.error("change_not_written", **place, reason=str(error))
        return problems.internal(f"the change cannot be written ({error}): look at the disk of the data folder")
    _LOG.error("request_failed", **place, at=errors.trace(error))
    return problems.internal(f"the sandbox failed at this request ({type(error).__name__}); its log says where")
