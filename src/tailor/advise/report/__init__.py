"""Advice as one self-contained page."""

from tailor.advise.report.page import page_of

__all__ = ["page_of"]
