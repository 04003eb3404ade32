"""How many requests are answered at a time."""

from __future__ import annotations

from dataclasses import dataclass

from cfcam.web.guard.asgi import App, Receive, Scope, Send, refuse


@dataclass
class Count:
    """How many requests are at work."""

    at_work: int = 0


class Crowd:
    """Tells a request to come again where too many are at work.

    Args:
        app: what answers.
        most: requests at a time.
        count: of those at work.
    """

    def __init__(self, app: App, *, most: int, count: Count) -> None:
        self._app, self._most, self._count = app, most, count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._count.at_work >= self._most:
            told = f"{self._count.at_work} requests are at work, and no more are taken: ask again in a second"
            await refuse(scope, receive, send, 503, told, {"Retry-After": "1"})
            return
        self._count.at_work += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._count.at_work -= 1
