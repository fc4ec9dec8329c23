"""The HTTP API: one route table makes the routes, the checks and the OpenAPI document."""
