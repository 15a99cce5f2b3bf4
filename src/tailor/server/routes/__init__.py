"""The routes, one file per noun; a route translates and nothing else: parse, one call, reply."""

from __future__ import annotations

from fastapi import APIRouter

from tailor.server.routes import (
    chat,
    completions,
    evals,
    files,
    graders,
    health,
    jobs,
    models,
    reports,
    tailor,
)


def routers() -> list[APIRouter]:
    """Every route of the server."""
    return [
        module.router
        for module in (health, files, jobs, graders, evals, models, chat, completions, reports, tailor)
    ]


__all__ = ["routers"]
