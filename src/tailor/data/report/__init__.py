"""A diagnosis for people: one self-contained page, and what the model will see of an example."""

from tailor.data.report.page import page_of
from tailor.data.report.seen import Seen, SeenToken

__all__ = ["Seen", "SeenToken", "page_of"]
