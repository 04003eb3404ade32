"""What is on the screen as a file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from cfcam.web.exports.moments import Moments
from cfcam.web.exports.turns import Turns
from cfcam.web.routes.parts import TheLibrary, attached
from cfcam.web.schemas import Export

router = APIRouter(prefix="/api/exports", tags=["exports"])

_FAINTEST = 1e-6  # of a threshold: at 0 a region is all that is more than nothing
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            name: {}
            for name in ("image/png", "application/pdf", "application/json", "application/dicom", "application/zip")
        },
        "description": "The file; several DICOM objects come as a ZIP.",
    }
}


def _moments(request: Request) -> Moments:
    moments: Moments = request.app.state.moments
    return moments


def _turns(request: Request) -> Turns:
    turns: Turns = request.app.state.turns
    return turns


TheMoments = Annotated[Moments, Depends(_moments)]
TheTurns = Annotated[Turns, Depends(_turns)]


@router.post("", response_class=Response, responses=_FILES)
def export(wanted: Export, library: TheLibrary, moments: TheMoments, turns: TheTurns) -> Response:
    """Sends a study with some of its maps as PNG, PDF, JSON, or as DICOM objects."""
    from cfcam.web.exports.export import Look, exported  # with all that measures and draws: not while the server starts

    study = library.find(wanted.study)
    maps = [study.map(one) for one in dict.fromkeys(wanted.maps)]
    view = wanted.view
    look = Look(
        palette=view.palette,
        opacity=view.opacity,
        blend=view.blend,
        threshold=None if view.threshold is None else max(view.threshold, _FAINTEST),
        window=view.window,
        scale=view.scale,
        at=None if view.cursor is None or len(view.cursor) != 3 else tuple(round(one) for one in view.cursor),
        channel=view.channel if study.facts().channels else 0,
        seen=view.model_dump(exclude_none=True),
    )
    with turns.taken():
        sent = exported(study, maps, wanted.format, look, objects=wanted.dicom, finish=moments.settle)
    return attached(sent.name, sent.media_type, sent.data)
