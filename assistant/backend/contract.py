"""Requests and answers of the service API; the OpenAPI document is made from these models."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from assistant.backend.id_number import is_id_number


def _right_id_number(text: str) -> str:
    if not is_id_number(text):
        raise ValueError("not an ID number: 17 digits and the right check character")
    return text


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Key = Annotated[str, Field(pattern=r"^[!-~]{1,64}$")]
"""An identifier of the client: printable ASCII, at most 64 characters."""


class IdentityRequest(_Model):
    """One try to prove who is calling."""

    call_id: Key
    id_number: Annotated[str, Field(pattern=r"^[0-9]{17}[0-9X]$"), AfterValidator(_right_id_number)]
    pin: str = Field(pattern=r"^[0-9]{6}$")


class Verified(_Model):
    """The caller is who they say; the token is good for this call."""

    outcome: Literal["verified"] = "verified"
    token: str
    expires_at: datetime
    name_masked: str


class Wrong(_Model):
    """ID number or PIN is wrong; which of the two is told to nobody."""

    outcome: Literal["wrong"] = "wrong"
    tries_left: int
    spoken: str


class Locked(_Model):
    """No try is taken before `until`."""

    outcome: Literal["locked"] = "locked"
    until: datetime
    spoken: str


class ServiceSummary(_Model):
    """One service item."""

    id: str
    name: str
    kind: Literal["query", "handle", "print"]
    auth: str


class CheckRequest(_Model):
    """May the caller have this item, with these slots?"""

    slots: dict[str, str] = {}


class RunRequest(_Model):
    """Carry the item out."""

    slots: dict[str, str] = {}
    confirmed: bool = False
    """The caller said yes to `confirm`; handled items need it."""
    request_id: Key
    """The same business has the same id, however often it is sent."""


class Allowed(_Model):
    """Every precondition holds; `confirm` is to be read back first, where there is one."""

    outcome: Literal["allowed"] = "allowed"
    confirm: str | None
    protected: bool = False
    """Whether the caller must not talk over `confirm`."""


class Refused(_Model):
    """A precondition does not hold; `spoken` tells the caller which, and what to do."""

    outcome: Literal["refused"] = "refused"
    code: str
    spoken: str


class Done(_Model):
    """Carried out; `values` holds what `spoken` was made of."""

    outcome: Literal["done"] = "done"
    spoken: str
    values: dict[str, str | int | None]
    case_no: str | None


class CalculateRequest(_Model):
    """What is known so far, by the names of the calculator's inputs."""

    inputs: dict[str, Annotated[str, Field(max_length=32)]] = {}
    province: str | None = None
    """As in configs/parameters.yaml; its own numbers are used where it has them."""


class Ask(_Model):
    """One more value is needed; `spoken` asks for it."""

    outcome: Literal["ask"] = "ask"
    input: str
    spoken: str


class Unfit(_Model):
    """A value cannot be true; `spoken` says so and asks again."""

    outcome: Literal["unfit"] = "unfit"
    input: str
    spoken: str


class Calculated(_Model):
    """The result: `spoken` names it with the inputs it was made from."""

    outcome: Literal["done"] = "done"
    reply: str
    """Which of the calculator's replies it is."""
    spoken: str
    basis: str
    values: dict[str, str | int | None]


class Health(_Model):
    """Whether the service can do its work."""

    status: Literal["ok", "degraded", "unavailable"]
    database: Literal["ok", "read_only", "unreachable"]


class Problem(_Model):
    """Why a request was not served; for programs, never spoken."""

    error: Literal[
        "bad_request",
        "unauthorized",
        "not_found",
        "not_allowed",
        "conflict",
        "too_large",
        "invalid",
        "internal",
        "unavailable",
    ]
    message: str
    field: str | None = None


class ApiError(Exception):
    """Ends a request with a status and a Problem."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.message)
        self.status = status
        self.problem = problem
