"""What is sent to the resources of `routes`, and what they answer, as models. No `repr` holds a secret."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from frameloom.accounts import secrets
from frameloom.accounts.roles import Role

Password = Annotated[str, Field(max_length=1000)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Me(BaseModel):
    """Who calls."""

    user: str | None = Field(description="None where no login is needed, and for tokens that are nobody's")
    role: Role | None = Field(description="None for somebody who has not logged in")
    login: bool = Field(description="Whether one has to log in here")
    must_change_password: bool = Field(description="The password is good for changing it only")


class LoginWish(_Said):
    """Who wants to come in."""

    user: str = Field(max_length=100, examples=["admin"])
    password: Password = Field(repr=False)


class PasswordWish(_Said):
    """Another password for oneself."""

    old: Password = Field(repr=False)
    new: Password = Field(repr=False, description=f"{secrets.SHORTEST} to {secrets.LONGEST} characters")


class NewUser(_Said):
    """Somebody who may log in from now on."""

    name: str = Field(max_length=100, examples=["eve"])
    role: Role
    password: Password | None = Field(
        None, repr=False, description="Left out, a one-time password is made and told"
    )


class UserChange(_Said):
    """What is left out stays."""

    role: Role | None = None
    password: Password | None = Field(None, repr=False)


class Somebody(BaseModel):
    """A user, without any secret."""

    name: str
    role: Role
    must_change_password: bool
    created_utc_ns: int


class Users(BaseModel):
    """All of them."""

    users: list[Somebody]


class MadeUser(Somebody):
    """A user who was just added."""

    one_time_password: str | None = Field(repr=False, description="Told this once, where none was given")


class NewToken(_Said):
    """A token for a program."""

    name: str = Field(max_length=100, description="What it is for", examples=["the wall display"])
    role: Role = "viewer"
    days: float | None = Field(
        None, gt=0, le=36500, description="How long it is good; without, until removed"
    )


class KnownToken(BaseModel):
    """A token, without its secret."""

    id: str
    name: str
    role: Role
    user: str | None = Field(description="Whose it is; None: the site's")
    created_utc_ns: int
    last_used_utc_ns: int | None = Field(description="To the hour")
    expires_utc_ns: int | None


class Tokens(BaseModel):
    """All that the caller may see."""

    tokens: list[KnownToken]


class MadeToken(KnownToken):
    """A token that was just made."""

    token: str = Field(repr=False, description="The secret, told this once")
