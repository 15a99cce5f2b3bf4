"""The OpenAPI document: generated from the routes, so that it is true."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from tailor.server.calls import right_of

DESCRIPTION = "OpenAI's fine-tuning API on your own machine. Whatever fails answers with the error envelope."


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    described = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}]
    for route in app.routes:
        if isinstance(route, APIRoute) and right_of(route) == "public":
            for operation in described["paths"][route.path_format].values():
                operation["security"] = []
    return described
