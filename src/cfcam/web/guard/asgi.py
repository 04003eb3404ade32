"""The few things of ASGI that guards need: types, headers of a request, an answer in one line of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from cfcam.web.problems import answer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(scope: Scope, name: bytes) -> str:
    """Returns a header of a request; "" if there is none, or several that differ."""
    found = {value for key, value in scope["headers"] if key == name}
    return found.pop().decode("latin-1") if len(found) == 1 else ""


async def refuse(
    scope: Scope, receive: Receive, send: Send, status: int, message: str, headers: dict[str, str] | None = None
) -> None:
    """Answers with an error."""
    await answer(status, message, headers)(scope, receive, send)
