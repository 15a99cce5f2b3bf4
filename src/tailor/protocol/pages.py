"""Lists on the wire (contract section 1.0)."""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item", bound=BaseModel)


class CursorPage(BaseModel, Generic[Item]):
    """One page; the client asks for the next with `after=<id of the last item>`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None

    @classmethod
    def of(cls, items: list[Item], *, has_more: bool) -> CursorPage[Item]:
        """A page over `items`, each of which has an `id`."""
        ids = [str(item.id) for item in items]  # type: ignore[attr-defined]
        return cls(
            data=items,
            has_more=has_more,
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
        )


class WholeList(BaseModel, Generic[Item]):
    """A list that is never cut into pages."""

    object: Literal["list"] = "list"
    data: list[Item]
