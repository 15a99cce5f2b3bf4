"""The application: layers around routes."""

from __future__ import annotations

from typing import Any, NoReturn

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from tailor import __version__
from tailor.server.calls import Reading, Services, check_permissions
from tailor.server.layers import (
    Authentication,
    Bodies,
    Failures,
    Hosts,
    Identity,
    RateLimits,
)
from tailor.server.requests import as_sentence, new_router
from tailor.server.routes import routers
from tailor.server.schema import document


def create_app(services: Services) -> ASGIApp:
    """The server as one ASGI application.

    Starts nothing: what is in `services` belongs to the caller. Without a supervisor and a runner, jobs and
    runs of evals are queued and nobody does them.
    """
    config = services.config
    app: ASGIApp = Bodies(create_routes(services), config=config)
    app = Authentication(app, store=services.store)
    app = services.traffic.over(app)
    app = Hosts(app, allowed=config.hosts)
    app = RateLimits(Failures(app), headroom=services.answering.engine.headroom)
    return Identity(app, organization=config.organization)


def create_routes(services: Services) -> FastAPI:
    """The routes without the layers around them."""
    app = FastAPI(
        title="tailor",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            HTTPException: _refused_by_framework,  # type: ignore[dict-item]
            RequestValidationError: _invalid,
            Exception: _hand_outwards,
        },
    )
    app.state.services = services
    for router in (*routers(), _openapi()):
        app.router.routes.extend(router.routes)
    check_permissions(app.routes)
    return app


def _openapi() -> APIRouter:
    router = new_router("tailor")

    @router.get("/openapi.json", response_model=dict[str, Any])
    def openapi(call: Reading) -> JSONResponse:
        """This document."""
        return JSONResponse(document(call.request.app))

    return router


_WORDS = {
    404: ("There is no such route: {method} {path}", "unknown_url"),
    405: ("{method} is not something that {path} does.", "method_not_allowed"),
}


def _refused_by_framework(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, and whatever else the framework refuses, in the envelope."""
    if not isinstance(error, HTTPException):
        raise error
    words, code = _WORDS.get(error.status_code, (str(error.detail), "invalid_request"))
    message = words.format(method=request.method, path=request.scope["path"][:200])
    detail = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": detail}, status_code=error.status_code, headers=error.headers)


def _invalid(request: Request, error: Exception) -> NoReturn:
    if not isinstance(error, RequestValidationError):
        raise error
    raise as_sentence(error)


def _hand_outwards(request: Request, error: Exception) -> NoReturn:
    """Leave it to the Failures layer: the framework's own answer would not be the envelope."""
    raise error
