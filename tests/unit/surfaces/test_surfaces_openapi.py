"""The OpenAPI document: made of the models that validate, so it cannot drift from them."""

import json

from gateway.surfaces.http.openapi import document
from gateway.surfaces.http.server import ROUTES

DOCUMENT = document(ROUTES)


def test_every_route_is_documented_with_its_body_and_its_problem() -> None:
    """A client generator finds each operation, what it takes, gives and how it refuses."""
    for route in ROUTES:
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        assert operation["summary"] == route.summary
        assert "application/problem+json" in operation["responses"]["default"]["content"]
        assert ("requestBody" in operation) == (route.body is not None)
        assert (operation["security"] == []) == route.public


def test_references_resolve() -> None:
    """No reference points at a schema that is not there."""
    text = json.dumps(DOCUMENT)
    names = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert names <= set(DOCUMENT["components"]["schemas"])


def test_operation_names_are_unique() -> None:
    """Generated clients get one function for each operation."""
    names = [
        operation["operationId"]
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
    ]
    assert len(names) == len(set(names))


def test_only_operating_routes_are_public() -> None:
    """Everything that shows or changes a launch, a policy or the log needs a token."""
    public = {route.path for route in ROUTES if route.public}
    assert public == {"/healthz", "/readyz", "/metrics", "/openapi.json"}
