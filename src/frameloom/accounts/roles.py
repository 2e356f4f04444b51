"""What people and programs may do: each role may what those before it may, and more."""

from __future__ import annotations

from typing import Literal

Role = Literal["viewer", "operator", "admin"]

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")
"""viewer: sees; operator: also starts, stops, sets, records; admin: also settings, users and tokens."""


def may(role: Role | None, needed: Role) -> bool:
    """Whether somebody of `role` may do what `needed` may."""
    return role is not None and ROLES.index(role) >= ROLES.index(needed)


def lesser(one: Role, other: Role) -> Role:
    """The one of both that may less."""
    return min(one, other, key=ROLES.index)
