"""The routes, one file per noun; a route translates and nothing else: parse, one call, reply."""

from __future__ import annotations

from fastapi import APIRouter

from tailor.server.routes import (
    aliases,
    chat,
    comparisons,
    completions,
    embeddings,
    evals,
    files,
    graders,
    health,
    jobs,
    models,
    plans,
    reports,
    tailor,
    versions,
)


def routers() -> list[APIRouter]:
    """Every route of the server."""
    modules = (
        health,
        files,
        jobs,
        graders,
        evals,
        models,
        chat,
        completions,
        embeddings,
        plans,
        reports,
        tailor,
        versions,
        aliases,
        comparisons,
    )
    return [module.router for module in modules]


__all__ = ["routers"]
