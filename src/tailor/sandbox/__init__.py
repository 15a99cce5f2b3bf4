"""Runs foreign Python shut in by the operating system: no files, no network, no processes, bounded use.

Standard library only: the inside imports this room before it has any other package.
"""

from tailor.sandbox.box import Outcome, Sandbox, SandboxMissing, find_sandbox, installed_libraries
from tailor.sandbox.limits import Limits
from tailor.sandbox.shared import SharedSandbox

__all__ = [
    "Limits",
    "Outcome",
    "Sandbox",
    "SandboxMissing",
    "SharedSandbox",
    "find_sandbox",
    "installed_libraries",
]
