"""Who may ask: whoever brings the token, under this server's own name, and not on behalf of another site.

The token comes once in the address that is printed, goes into a cookie that no script can read and no other site's
request carries, and leaves the address. Programs send it as ``Authorization: Bearer``. The names under which a request
may ask (its Host) are few, so that a foreign name which is made to point to this machine opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.responses import RedirectResponse

from cfcam.web.guard.asgi import App, Receive, Scope, Send, header, refuse
from cfcam.web.settings import LOOPBACK, ViewSettings

_CHANGING = frozenset(("POST", "PUT", "PATCH", "DELETE"))
_OWN = ("", "same-origin", "none")  # of Sec-Fetch-Site; programs send none
_ANY = ("0.0.0.0", "::", "")  # noqa: S104 (addresses that stand for all of this machine's)


class Door:
    """Lets requests in that bring the token.

    Args:
        app: what answers.
        settings: of the viewer.
    """

    def __init__(self, app: App, settings: ViewSettings) -> None:
        self._app, self._settings = app, settings
        self._token = settings.token.encode()
        self._cookie = f"cfcam-{hashlib.sha256(self._token).hexdigest()[:8]}"  # cookies do not know of ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or refuses it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif not self._called_rightly(scope):
            told = "this server answers under its own name alone: open the address that cfcam view printed"
            await refuse(scope, receive, send, 421, told)
        elif not _from_here(scope):
            await refuse(scope, receive, send, 403, "a request of another site: it is not answered")
        elif scope["method"] == "GET" and scope["path"] == "/" and b"token=" in scope["query_string"]:
            await self._enter(scope, receive, send)
        elif not self._known(scope):
            told = "no token, or a wrong one: open the address that cfcam view printed, or send Authorization: Bearer"
            await refuse(scope, receive, send, 401, told, {"WWW-Authenticate": "Bearer"})
        else:
            await self._app(scope, receive, send)

    def _called_rightly(self, scope: Scope) -> bool:
        try:
            asked = urlsplit(f"//{header(scope, b'host')}")
            name, port = asked.hostname or "", asked.port
        except ValueError:
            return False
        names = {*LOOPBACK, self._settings.host}
        if self._settings.host in _ANY:  # any name of this machine, which only the user knows
            return bool(name)
        server = scope.get("server")
        return name in names and (port is None or server is None or server[1] is None or port == server[1])

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if not self._matches(query.pop("token", [""])[-1]):
            told = "the token of this address is not this server's: open the address that cfcam view printed last"
            await refuse(scope, receive, send, 401, told)
            return
        rest = urlencode(query, doseq=True)
        answer = RedirectResponse(f"/?{rest}" if rest else "/", 303)
        answer.set_cookie(self._cookie, self._settings.token, httponly=True, samesite="strict", path="/")
        await answer(scope, receive, send)

    def _known(self, scope: Scope) -> bool:
        kind, _, given = header(scope, b"authorization").partition(" ")
        if given:
            return kind.lower() == "bearer" and self._matches(given.strip())
        cookies: SimpleCookie = SimpleCookie()
        for name, value in scope["headers"]:
            if name == b"cookie":
                try:
                    cookies.load(value.decode("latin-1"))
                except CookieError:
                    continue
        return self._cookie in cookies and self._matches(cookies[self._cookie].value)

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(errors="replace"), self._token)


def _from_here(scope: Scope) -> bool:
    """Whether a request is this page's own, or no page's; what only shows the page may be asked for from anywhere."""
    if scope["method"] not in _CHANGING and not scope["path"].startswith("/api/"):
        return True
    if header(scope, b"sec-fetch-site") not in _OWN:
        return False
    origin = header(scope, b"origin")
    return not origin or urlsplit(origin).netloc == header(scope, b"host")
