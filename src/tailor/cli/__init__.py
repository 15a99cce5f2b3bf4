"""The command line: one verb per file; parse, one call, print, exit."""

from tailor.cli.command import app, main

__all__ = ["app", "main"]
