"""How far a map can be relied on: its uncertainty, and its control, beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from cfcam.web.library.study import Study
from cfcam.web.live.network import Ticket
from cfcam.web.live.schemas import Layer, Layered
from cfcam.web.routes.parts import TheLibrary, TheLive

if TYPE_CHECKING:
    from cfcam.web.live.engine import LiveEngine

router = APIRouter(prefix="/api", tags=["network"])


@router.post("/layers")
async def layers(request: Request, asked: Layer, library: TheLibrary, live: TheLive) -> Layered:
    """Makes a map of how much another varies, or of what its method shows with random weights."""
    study = library.find(asked.study)
    study.map(asked.map)
    return await live.ask(
        lambda engine, ticket: layered(engine, ticket, study, asked), request.is_disconnected, asked.job
    )


def layered(engine: LiveEngine, ticket: Ticket, study: Study, asked: Layer) -> Layered:
    """Measures a map of a study, in the network's thread, and gives the study what comes of it.

    Args:
        engine: explains.
        ticket: of the request.
        study: whose map it is.
        asked: of which map, and what.

    Raises:
        CfcamError: there is no such map, or this cannot be measured of it.
    """
    from cfcam.web.live.layers import control, uncertainty

    of = study.map(asked.map)
    make, whose = (uncertainty, "the samples") if asked.kind == "uncertainty" else (control, "the map and its control")
    found, agreement, notices = make(engine, study.image(), of, ticket)
    study.add(found)
    if study.kind == "volume":
        study.levels(found.id)
    number = "cannot be told" if agreement is None else f"{agreement:.2f} of 1"
    text = f"agreement of {whose} (mean soft IoU): {number}"
    return Layered(maps=[found.described(study.id)], text=text, agreement=agreement, notices=notices)
