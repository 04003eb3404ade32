"""A prior study beside the current one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from cfcam.errors import CfcamError, InputError
from cfcam.web.library.maps import StudyMap
from cfcam.web.library.study import Study
from cfcam.web.live.network import Ticket
from cfcam.web.live.schemas import Compare, Compared
from cfcam.web.routes.parts import TheLibrary, TheLive, TheSettings

if TYPE_CHECKING:
    from cfcam.web.live.engine import LiveEngine

router = APIRouter(prefix="/api", tags=["network"])

METHOD = "grad-cam"
"""Of a comparison for which neither a map nor a method is named, as for ``cfcam compare``."""


@router.post("/compare")
async def compare(
    request: Request, asked: Compare, library: TheLibrary, live: TheLive, settings: TheSettings
) -> Compared:
    """Registers a prior study, explains it as the current one is, and says what changed; by `cfcam compare`'s code."""
    study, prior = library.find(asked.study), library.find(asked.prior)
    if study is prior:
        raise InputError("a study is no prior of itself: choose another")
    if asked.map is not None:
        study.map(asked.map)
    method = next(iter(settings.methods), METHOD)
    return await live.ask(
        lambda engine, ticket: compared(engine, ticket, study, prior, asked, method),
        request.is_disconnected,
        asked.job,
    )


def compared(
    engine: LiveEngine, ticket: Ticket, study: Study, prior: Study, asked: Compare, method: str = METHOD
) -> Compared:
    """Compares two studies, in the network's thread, and gives the current one what comes of it.

    Args:
        engine: explains.
        ticket: of the request.
        study: the current one.
        prior: the other.
        asked: of which map, and how.
        method: of the map that is made if none is named.

    Raises:
        CfcamError: there is no such map, or the two cannot be compared.
    """
    from cfcam.web.live.beside import beside

    notes = one_patient(study, prior)
    of = study.map(asked.map) if asked.map is not None else _explained(engine, ticket, study, method)
    return beside(engine, ticket, study, of, prior, registration=asked.registration, retests=asked.retests, notes=notes)


def one_patient(study: Study, prior: Study) -> list[str]:
    """Refuses two patients, and returns in words what cannot be known; see `check_patients`.

    Raises:
        CfcamError: they are of two patients, or a header cannot be read; no patient, and no file of one, is named.
    """
    from cfcam.jobs.compare.studies import UNKNOWN_PATIENTS, check_patients
    from cfcam.jobs.inputs.privacy import neutral

    if study.given is None or prior.given is None:
        return [UNKNOWN_PATIENTS]
    try:
        return check_patients(prior.given.path, study.given.path)
    except CfcamError as error:
        raise InputError(neutral(neutral(str(error), study.given), prior.given)) from error


def _explained(engine: LiveEngine, ticket: Ticket, study: Study, method: str) -> StudyMap:
    from cfcam.web.live.schemas import Explain
    from cfcam.web.routes.explain import explained

    made = explained(
        engine, ticket, study, Explain(study=study.id, methods=[method], targets=["predicted"], layer=None)
    )
    return study.map(made.maps[0].id)
