"""How `tailor jobs` and `tailor models` behave without a verb of their own."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class ListByDefault(TyperGroup):
    """A group whose `list` runs when no other verb is named: `tailor jobs --json` lists as JSON."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the verb that was left out."""
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not args or (args[0].startswith("-") and not asks_for_help):
            args = ["list", *args]
        return super().parse_args(ctx, args)
