"""Files that are sent to be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import IO, Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from cfcam.errors import ImageError
from cfcam.web.library.library import Library
from cfcam.web.problems import RefusedError, also
from cfcam.web.routes.parts import TheLibrary
from cfcam.web.schemas import Brief

router = APIRouter(prefix="/api/studies", tags=["studies"])

_AT_A_TIME = 2
_PIECE = 2**20
_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    }
}

_coming = asyncio.Semaphore(_AT_A_TIME)


@router.post("", status_code=201, openapi_extra=_FORM, responses=also(400, 413, 415, 429))
async def send(request: Request, library: TheLibrary) -> Brief:
    """Takes a picture, a DICOM file or a NIfTI to look at; it is kept until the viewer ends, under a neutral name."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise RefusedError(415, "send the file as multipart/form-data, in a field called file")
    if _coming.locked():
        raise RefusedError(429, f"{_AT_A_TIME} files are coming already: send this one again", retry_after=2)
    async with _coming, request.form(max_files=1, max_fields=4) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise RefusedError(400, "there is no field called file in what was sent: name it so")
        return await run_in_threadpool(_taken, library, file.file)


def _taken(library: Library, file: IO[bytes]) -> Brief:
    try:
        return library.add_upload(_pieces(file)).brief()
    except ImageError as error:
        raise RefusedError(415, str(error)) from error


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    file.seek(0)
    while piece := file.read(_PIECE):
        yield piece
