"""The viewer: a server that listens on this machine alone, its page in the browser, and its REST API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cfcam._lazy import lazy

if TYPE_CHECKING:
    from cfcam.web.app import create_app
    from cfcam.web.server import serve
    from cfcam.web.settings import ViewSettings

__all__ = ["ViewSettings", "create_app", "serve"]

__getattr__ = lazy(
    __name__,
    {
        "cfcam.web.app": "create_app",
        "cfcam.web.server": "serve",
        "cfcam.web.settings": "ViewSettings",
    },
)
