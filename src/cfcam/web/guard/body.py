"""How much may be sent, counted while it comes, and how long that may take."""

from __future__ import annotations

import asyncio

from cfcam.web.guard.asgi import App, Message, Receive, Scope, Send, header, refuse
from cfcam.web.problems import RefusedError

SMALL = 2**20
"""Bytes of a request that is no upload."""
UPLOADS = "/api/studies"
_LONGER = 10
_AROUND = 2**16  # of a multipart body, beside the file


class Body:
    """Refuses bodies that are too large or too slow.

    Args:
        app: what answers.
        most: bytes of an upload.
        patience: seconds in which a body has to come; an upload may take so much longer as it is larger.
    """

    def __init__(self, app: App, *, most: int, patience: float) -> None:
        self._app, self._most, self._patience = app, most, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        upload = scope["path"] == UPLOADS and scope["method"] == "POST"
        limit = self._most + _AROUND if upload else SMALL
        until = asyncio.get_running_loop().time() + self._patience * (_LONGER if upload else 1)
        declared = header(scope, b"content-length")
        if declared.isdecimal() and int(declared) > limit:
            await refuse(scope, receive, send, 413, _told(limit), {"Connection": "close"})
            return
        count, whole = 0, False

        async def counted() -> Message:
            nonlocal count, whole
            if whole:  # what is waited for now is that the client leaves
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise RefusedError(408, "the body of the request did not come in time: send it again") from None
            count += len(message.get("body", b""))
            whole = not message.get("more_body", False)
            if count > limit:
                raise RefusedError(413, _told(limit))
            return message

        await self._app(scope, counted, send)


def _told(limit: int) -> str:
    return f"more than {limit / 2**20:.0f} MB were sent: send less, or start cfcam view with a greater --max-upload"
