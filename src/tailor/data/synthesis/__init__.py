"""New training examples through a model: what to ask for, what to accept, and where it came from."""

from tailor.data.synthesis.acceptance import Acceptance, Refusal
from tailor.data.synthesis.journal import Entry, Journal, Usage
from tailor.data.synthesis.orders import DIFFICULTIES, LENGTHS, PERSONAS, Brief, Order, next_orders
from tailor.data.synthesis.requests import Draft, read_reply, request_of

__all__ = [
    "DIFFICULTIES",
    "LENGTHS",
    "PERSONAS",
    "Acceptance",
    "Brief",
    "Draft",
    "Entry",
    "Journal",
    "Order",
    "Refusal",
    "Usage",
    "next_orders",
    "read_reply",
    "request_of",
]
