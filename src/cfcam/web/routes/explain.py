"""Maps that the network makes while somebody waits, and how far longer work is."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Request, Response

from cfcam.web.library.study import Study
from cfcam.web.live.network import Ticket
from cfcam.web.live.schemas import Explain, Explained, Progress, Seconds, Wanted
from cfcam.web.routes.parts import TheLibrary, TheLive
from cfcam.web.schemas import ModelInfo

if TYPE_CHECKING:
    from cfcam.web.live.engine import LiveEngine

router = APIRouter(prefix="/api", tags=["network"])

JobName = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="That the request was given.")]


@router.post("/model")
async def model(request: Request, asked: Wanted, library: TheLibrary, live: TheLive) -> ModelInfo | None:
    """Loads the network, if it is not there yet, and tells its layers and classes."""
    study = library.find(asked.study)
    await live.ask(lambda engine, ticket: engine.preprocess(study.image()), request.is_disconnected)
    found: ModelInfo | None = live.info()
    return found


@router.post("/explain")
async def explain(request: Request, asked: Explain, library: TheLibrary, live: TheLive) -> Explained:
    """Makes maps of a study; the network is loaded with the first that are asked for."""
    study = library.find(asked.study)
    return await live.ask(
        lambda engine, ticket: explained(engine, ticket, study, asked), request.is_disconnected, asked.job
    )


def explained(engine: LiveEngine, ticket: Ticket, study: Study, asked: Explain) -> Explained:
    """Explains a study, in the network's thread, and gives it the maps.

    Args:
        engine: explains.
        ticket: of the request.
        study: what is explained.
        asked: how.

    Raises:
        CfcamError: the study cannot be read, or not explained so.
    """
    from cfcam.web.live.maps import study_map

    begun = perf_counter()
    image = study.image()
    engine.forward = 0.0
    found = engine.maps(image, asked.methods, asked.targets, layer=asked.layer, ticket=ticket)
    each = (perf_counter() - begun) / max(1, len(found))
    maps = []
    for explanation in found:
        maps.append(study_map(engine, image, explanation, seconds=each))
        study.add(maps[-1])
        if study.kind == "volume":
            study.levels(maps[-1].id)  # of the map that is in memory now, before the next one is
    probabilities = found[0].class_probabilities(0)
    best = max(probabilities, key=lambda name: probabilities[name], default=None)
    said = study.said()
    if best is not None and said.predicted is None:
        study.tell(replace(said, predicted=best, probability=probabilities[best], probabilities=probabilities))
    return Explained(
        maps=[one.described(study.id) for one in maps],
        probabilities=probabilities or None,
        seconds=Seconds(queue=ticket.queued or 0.0, forward=engine.forward, total=perf_counter() - begun),
        notices=[*dict.fromkeys((*engine.absent, *engine.notes, *engine.preprocess(image).notices(image)))],
    )


@router.get("/jobs/{job}")
def progress(job: JobName, live: TheLive) -> Progress:
    """Tells how far a request is that was given a name."""
    found: Progress = live.progress(job)
    return found


@router.delete("/jobs/{job}", status_code=204)
def stop(job: JobName, live: TheLive) -> Response:
    """Ends a request that was given a name, before the network's next pass."""
    live.stop(job)
    return Response(status_code=204)
