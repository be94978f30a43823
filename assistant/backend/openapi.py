"""The OpenAPI 3.1 document, made from the models that requests and answers really use."""

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from assistant import __version__
from assistant.backend import contract as c

REQUESTS: list[type[BaseModel]] = [
    *(c.IdentityRequest, c.CheckRequest, c.RunRequest, c.CalculateRequest),
]
ANSWERS: list[type[BaseModel]] = [
    *(c.Verified, c.Wrong, c.Locked, c.ServiceSummary, c.Allowed, c.Refused, c.Done),
    *(c.Ask, c.Unfit, c.Calculated, c.Health, c.Problem),
]

PROBLEMS = {
    400: "The body is not JSON.",
    401: "No token, or one that is unknown or has expired.",
    404: "No such service item or calculator.",
    409: "Not confirmed, or the request_id was used for other business.",
    413: "The body is too large.",
    422: "A field is wrong; `field` names it.",
    503: "The database cannot be reached, or cannot be written.",
}


def document() -> dict[str, Any]:
    """The whole document."""
    modes: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((model, "validation") for model in REQUESTS),
        *((model, "serialization") for model in ANSWERS),
    ]
    _, schemas = models_json_schema(modes, ref_template="#/components/schemas/{model}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Social-insurance hotline: service API",
            "version": __version__,
            "description": "Identity, queries and business of a caller. Money is a decimal "
            "string in yuan, dates are ISO 8601. `spoken` is what the caller hears.",
        },
        "paths": {
            "/v1/identity": {
                "post": _operation(
                    "Check an ID number and a telephone PIN",
                    _one_of(c.Verified, c.Wrong, c.Locked),
                    (400, 413, 422, 503),
                    body=c.IdentityRequest,
                )
            },
            "/v1/services": {
                "get": _operation(
                    "The service items",
                    {"type": "array", "items": _ref(c.ServiceSummary)},
                    (),
                )
            },
            "/v1/services/{id}/check": {
                "post": _operation(
                    "May the caller have this item?",
                    _one_of(c.Allowed, c.Refused),
                    (400, 401, 404, 413, 422, 503),
                    body=c.CheckRequest,
                    on_item=True,
                )
            },
            "/v1/services/{id}/run": {
                "post": _operation(
                    "Answer the query, or carry the business out",
                    _one_of(c.Done, c.Refused),
                    (400, 401, 404, 409, 413, 422, 503),
                    body=c.RunRequest,
                    on_item=True,
                )
            },
            "/v1/calculators/{id}": {
                "post": _operation(
                    "The next question, or the result",
                    _one_of(c.Ask, c.Unfit, c.Calculated),
                    (400, 404, 413, 422),
                    body=c.CalculateRequest,
                    with_id=True,
                )
            },
            "/health": {"get": _health()},
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"identity": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(
    summary: str,
    answer: dict[str, Any],
    problems: tuple[int, ...],
    *,
    body: type[BaseModel] | None = None,
    on_item: bool = False,
    with_id: bool = False,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": _response(summary, answer),
            **{str(status): _response(PROBLEMS[status], _ref(c.Problem)) for status in problems},
        },
    }
    if body:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    if on_item or with_id:
        item = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [item]
    if on_item:
        operation["security"] = [{"identity": []}]
    return operation


def _health() -> dict[str, Any]:
    operation = _operation("Whether the service can do its work", _ref(c.Health), ())
    operation["responses"]["503"] = _response(PROBLEMS[503], _ref(c.Health))
    return operation


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _one_of(*models: type[BaseModel]) -> dict[str, Any]:
    return {"oneOf": [_ref(model) for model in models]}
