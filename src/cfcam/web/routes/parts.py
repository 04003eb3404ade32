"""What addresses have in common: the library and the study that a request is about, files that are streamed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response
from fastapi.responses import StreamingResponse

from cfcam.web.library.library import Library
from cfcam.web.library.nifti import Unwritten
from cfcam.web.library.study import Study
from cfcam.web.settings import ViewSettings

StudyId = Annotated[str, Path(pattern=r"^s-[0-9a-f]{12}$", description="Of a study, from the list.")]
MapId = Annotated[str, Path(pattern=r"^m-[0-9a-f]{12}$", description="Of a map of this study.")]


def _settings(request: Request) -> ViewSettings:
    settings: ViewSettings = request.app.state.settings
    return settings


def _library(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


def _live(request: Request) -> Any:
    return request.app.state.live


TheSettings = Annotated[ViewSettings, Depends(_settings)]
TheLibrary = Annotated[Library, Depends(_library)]
TheLive = Annotated[Any, Depends(_live)]
"""The network at work; None where there is none."""


def _study(study_id: StudyId, library: TheLibrary) -> Study:
    return library.find(study_id)


TheStudy = Annotated[Study, Depends(_study)]


def etag(*parts: str) -> str:
    """Returns a mark of a content: the same parts, the same bytes."""
    return f'"{hashlib.sha256("|".join(parts).encode()).hexdigest()[:20]}"'


def unchanged(request: Request, mark: str) -> Response | None:
    """Returns the answer to a browser that has this content already; None if it has not."""
    has = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    return Response(status_code=304, headers=kept(mark)) if mark in has else None


def kept(mark: str) -> dict[str, str]:
    """Returns headers by which a browser keeps a content and asks whether it is still the same.

    It has to ask: another viewer may stand at the same address tomorrow.
    """
    return {"ETag": mark, "Cache-Control": "private, no-cache"}


def streamed(file: Unwritten, mark: str, name: str, *, attached: bool = False) -> StreamingResponse:
    """Returns a file as an answer that is sent piece by piece, from where it lies in memory.

    Args:
        file: is not copied.
        mark: of its content.
        name: of it; holds nothing but letters, digits, and ``_-.``.
        attached: it is to be saved, not looked at.
    """
    headers = {
        **kept(mark),
        "Content-Length": str(len(file)),
        "Content-Disposition": f'{"attachment" if attached else "inline"}; filename="{name}"',
    }
    return StreamingResponse(_pieces(file), media_type="application/octet-stream", headers=headers)


async def _pieces(file: Unwritten) -> AsyncIterator[bytes | memoryview]:
    for piece in file.pieces():
        yield piece


def blob(data: bytes, media_type: str, mark: str) -> Response:
    """Returns bytes as an answer that a browser may keep."""
    return Response(data, media_type=media_type, headers=kept(mark))


def attached(name: str, media_type: str, data: bytes) -> Response:
    """Returns bytes as a file to be saved, which no cache keeps.

    Args:
        name: of the file; holds nothing but letters, digits, and ``_-.``.
        media_type: of its content.
        data: its content.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(data, media_type=media_type, headers=headers)
