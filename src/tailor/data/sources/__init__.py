"""Readers of whatever people have: tables, documents, archives, exports. Start at `tailor.data.rows`."""

from tailor.data.sources.opening import open_path

__all__ = ["open_path"]
