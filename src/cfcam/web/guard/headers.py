"""What every answer says to the browser, and what becomes of an error that nobody foresaw."""

from __future__ import annotations

import sys
import traceback

from cfcam.web.guard.asgi import App, Message, Receive, Scope, Send, refuse

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' data: blob:;"
    " style-src 'self' 'unsafe-inline'; object-src 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Headers:
    """Adds headers to every answer; makes an error that nobody foresaw one line.

    Args:
        app: what answers.
        debug: write the traceback of such an error, which may name files and patients, to stderr.
    """

    def __init__(self, app: App, *, debug: bool = False) -> None:
        self._app, self._debug = app, debug

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                there = {name.lower() for name, _ in message.setdefault("headers", [])}
                added = {**_HEADERS, "cache-control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((n.encode(), v.encode()) for n, v in added.items() if n.encode() not in there),
                ]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 (nobody foresaw it, and the next request is answered all the same)
            if self._debug:
                sys.stderr.write("".join(traceback.format_exception(error)))
            else:
                sys.stderr.write(f"error: {type(error).__name__} in an answer; start with --debug to see where\n")
            if begun:
                raise ConnectionError("an answer broke off") from None
            told = f"something went wrong here ({type(error).__name__}): start cfcam view with --debug to see where"
            await refuse(scope, receive, sending, 500, told)
