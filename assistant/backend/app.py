"""The service API over HTTP: routes, and what happens when a request cannot be served."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import update

from assistant.backend.access_tables import PinFailures
from assistant.backend.calculators import Calculators
from assistant.backend.clock import Clock
from assistant.backend.contract import (
    ApiError,
    CalculateRequest,
    CheckRequest,
    Health,
    IdentityRequest,
    Problem,
    RunRequest,
    ServiceSummary,
)
from assistant.backend.database import Database, DatabaseUnavailable
from assistant.backend.items import Item
from assistant.backend.openapi import document
from assistant.backend.pins import Identities
from assistant.backend.services import Services

log = logging.getLogger(__name__)

LARGEST_BODY = 64 * 1024
"""Bytes; a request is an ID number or a handful of slots."""

Body = TypeVar("Body", bound=BaseModel)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_TOUCH = update(PinFailures).where(PinFailures.id_hash == "").values(fail_count=0)
"""Changes no row, and fails where nothing can be written."""

_SUMMARIES = TypeAdapter(list[ServiceSummary])


def make_app(database: Database, items: dict[str, Item], clock: Clock) -> web.Application:
    """The application; it neither opens nor closes the database. Raises ConfigError."""
    identities = Identities(database, clock)
    services = Services(items, database, identities, clock)
    api = _Api(database, identities, services, Calculators(), clock)
    app = web.Application(middlewares=[_problems], client_max_size=LARGEST_BODY)
    app.add_routes(
        [
            web.get("/", api.index),
            web.get("/openapi.json", api.openapi),
            web.get("/health", api.health),
            web.post("/v1/identity", api.identity),
            web.get("/v1/services", api.services),
            web.post("/v1/services/{id}/check", api.check),
            web.post("/v1/services/{id}/run", api.run),
            web.post("/v1/calculators/{id}", api.calculate),
        ]
    )
    return app


class _Api:
    """One method a route."""

    def __init__(
        self,
        database: Database,
        identities: Identities,
        services: Services,
        calculators: Calculators,
        clock: Clock,
    ) -> None:
        self._database = database
        self._identities = identities
        self._services = services
        self._calculators = calculators
        self._clock = clock
        self._document = document()

    async def index(self, request: web.Request) -> web.Response:
        """What there is, for a person with a browser."""
        lines = [self._document["info"]["title"], ""]
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                lines.append(f"{method.upper():5} {path:26} {operation['summary']}")
        lines += ["", "The contract: /openapi.json", ""]
        return web.Response(text="\n".join(lines))

    async def openapi(self, request: web.Request) -> web.Response:
        """The contract."""
        return web.json_response(self._document)

    async def health(self, request: web.Request) -> web.Response:
        """200 while identity can be checked, which takes writing; 503 otherwise."""
        try:
            async with self._database.writing() as session:
                await session.execute(_TOUCH)
        except DatabaseUnavailable as error:
            if error.read_only:
                return _answer(Health(status="degraded", database="read_only"), 503)
            return _answer(Health(status="unavailable", database="unreachable"), 503)
        return _answer(Health(status="ok", database="ok"))

    async def identity(self, request: web.Request) -> web.Response:
        """One try of ID number and PIN."""
        body = await _body(request, IdentityRequest)
        return _answer(await self._identities.verify(body.call_id, body.id_number, body.pin))

    async def services(self, request: web.Request) -> web.Response:
        """The service items."""
        summaries = [
            ServiceSummary(id=item.id, name=item.name, kind=item.kind, auth=item.auth)
            for item in self._services.items.values()
        ]
        return _json(_SUMMARIES.dump_json(summaries))

    async def check(self, request: web.Request) -> web.Response:
        """May the caller have this item?"""
        token = _token(request)
        body = await _body(request, CheckRequest)
        return _answer(await self._services.check(token, request.match_info["id"], body.slots))

    async def run(self, request: web.Request) -> web.Response:
        """Carry the item out."""
        token = _token(request)
        body = await _body(request, RunRequest)
        answer = await self._services.run(
            token,
            request.match_info["id"],
            body.slots,
            confirmed=body.confirmed,
            request_id=body.request_id,
        )
        return _answer(answer)

    async def calculate(self, request: web.Request) -> web.Response:
        """One step of a calculator."""
        body = await _body(request, CalculateRequest)
        today = self._clock.today()
        name = request.match_info["id"]
        return _answer(self._calculators.calculate(name, body.inputs, body.province, today))


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong, the answer is a Problem, and neither it nor the log holds data."""
    try:
        return await handler(request)
    except ApiError as error:
        return _answer(error.problem, error.status)
    except DatabaseUnavailable as error:
        log.error("%s %s not served: %s", request.method, _route(request), error)
        return _answer(Problem(error="unavailable", message=str(error)), 503)
    except web.HTTPNotFound:
        return _answer(Problem(error="not_found", message="no such path; see /"), 404)
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        return _answer(Problem(error="not_allowed", message=f"use {allowed}"), 405)
    except web.HTTPRequestEntityTooLarge:
        message = f"at most {LARGEST_BODY} bytes"
        return _answer(Problem(error="too_large", message=message), 413)
    except Exception:  # the door of the service: a fault ends one request only
        log.exception("%s %s failed", request.method, _route(request))
        return _answer(Problem(error="internal", message="a fault; see the log"), 500)


def _route(request: web.Request) -> str:
    """The path without what the client put in it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else "?"


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        message = "send Authorization: Bearer and the token of /v1/identity"
        raise ApiError(401, Problem(error="unauthorized", message=message))
    return token


async def _body(request: web.Request, model: type[Body]) -> Body:
    try:
        value: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        problem = Problem(error="bad_request", message="the body is not JSON")
        raise ApiError(400, problem) from None
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        problem = Problem(error="invalid", message=first["msg"], field=field)
        raise ApiError(422, problem) from None


def _answer(answer: BaseModel, status: int = 200) -> web.Response:
    return _json(answer.model_dump_json().encode(), status)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")
