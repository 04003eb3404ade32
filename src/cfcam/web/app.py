"""The viewer as an ASGI app: guards outside, then the addresses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from cfcam._version import __version__
from cfcam.web import problems
from cfcam.web.exports.moments import Moments
from cfcam.web.exports.turns import Turns
from cfcam.web.guard.body import Body
from cfcam.web.guard.crowd import Count, Crowd
from cfcam.web.guard.door import Door
from cfcam.web.guard.headers import Headers
from cfcam.web.library.library import Library
from cfcam.web.live.live import Live
from cfcam.web.reviews.book import ReviewBook
from cfcam.web.routes import compare, explain, exports, files, info, layers, page, reviews, roi, studies
from cfcam.web.settings import ViewSettings

ROUTERS = (
    page.router,
    info.router,
    studies.router,
    files.router,
    explain.router,
    layers.router,
    compare.router,
    roi.router,
    reviews.router,
    exports.router,
)
"""Every group of addresses; a new one is a file in ``routes/`` and a name here."""

_STATIC = Path(__file__).with_name("static")


def create_app(
    settings: ViewSettings, library: Library | None = None, live: Any = None, *, debug: bool = False
) -> FastAPI:
    """Returns the viewer.

    Args:
        settings: what is shown, with which network, and to whom.
        library: what was opened; None: what the settings' paths hold.
        live: the network at work; None: that of the settings, which is loaded with the first map that is asked for.
        debug: write the traceback of an error that nobody foresaw to stderr.

    Raises:
        ImageError: a path is not there, or there is nothing in it.
    """
    app = FastAPI(
        title="cfcam view",
        version=__version__,
        summary="Studies, their maps, and what a network makes of them; for this machine alone.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan,
        responses=problems.RESPONSES,
    )
    app.state.settings = settings
    app.state.library = library if library is not None else Library.open(settings)
    app.state.live = Live(settings) if live is None else live
    app.state.reviews = ReviewBook(settings.audit, settings.reviewer)
    app.state.moments, app.state.turns = Moments(), Turns()
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    problems.install(app)
    app.state.crowd = Count()
    app.add_middleware(Body, most=settings.max_upload, patience=settings.patience)  # the last is the outermost
    app.add_middleware(Door, settings=settings)
    app.add_middleware(Crowd, most=settings.at_work, count=app.state.crowd)
    app.add_middleware(Headers, debug=debug)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Closes what was opened when the server stops: the network's thread, files that were sent."""
    try:
        yield
    finally:
        for one in (app.state.live, app.state.library):
            if hasattr(one, "close"):
                one.close()
