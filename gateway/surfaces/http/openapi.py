"""The OpenAPI document: made of the route table and of the models that validate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.surfaces.http.models import Problem
from gateway.surfaces.http.routes import Route

_REF = "#/components/schemas/{model}"


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return OpenAPI 3.1 for the routes."""
    used: list[type[BaseModel]] = [Problem]
    for route in routes:
        used += [model for model in (route.body, route.answer) if model and model not in used]
    _, schemas = models_json_schema([(model, "validation") for model in used], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": __version__,
            "description": "Launch data pipelines under policy. Errors are problem+json.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "integer"}}
        for name, text in route.query
    ]
    parameters += [
        {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
        for name, text in route.headers
    ]
    schema = (
        {"$ref": _REF.format(model=route.answer.__name__)} if route.answer else {"type": "string"}
    )
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": route.summary,
        "parameters": parameters,
        "responses": {
            str(route.status): {
                "description": route.summary,
                "content": {route.media_type: {"schema": schema}},
            },
            **{str(status): _problem(text) for status, text in route.refusals},
            "default": _problem("A problem"),
        },
        "security": [] if route.public else [{"token": []}],
    }
    if route.body:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": _REF.format(model=route.body.__name__)}}
            },
        }
    return operation


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model=Problem.__name__)}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}
