"""What is answered where something cannot be done: one line of JSON that says what, where, and what next."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from cfcam.errors import CfcamError, one_line
from cfcam.web.fields import told
from cfcam.web.schemas import Problem

_SAID = {
    404: "there is nothing at this address: see /api/openapi.json for what there is",
    405: "this address takes another kind of request: see /api/openapi.json",
}
_LONGEST = 500


class RefusedError(CfcamError, HTTPException):
    """A request that is not answered.

    Args:
        status: of HTTP.
        message: one line: what, where, what next.
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        HTTPException.__init__(self, status, message, headers)  # of that kind, FastAPI lets it through
        self.message = message

    def __str__(self) -> str:
        return self.message


class NotFoundError(RefusedError):
    """There is no such study or map."""

    def __init__(self, message: str) -> None:
        super().__init__(404, message)


def answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns the answer of an error."""
    return JSONResponse({"error": one_line(message, _LONGEST)}, status, headers)


def install(app: FastAPI) -> None:
    """Lets an app answer every error in one line."""
    app.add_exception_handler(CfcamError, _of_cfcam)
    app.add_exception_handler(AnyHTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_fields)


def _of_cfcam(_: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RefusedError):
        return answer(error.status_code, error.message, dict(error.headers or {}))
    return answer(422, str(error))


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)  # noqa: S101 (it is registered for these)
    return answer(error.status_code, _SAID.get(error.status_code, str(error.detail)), dict(error.headers or {}))


def _of_fields(_: Request, error: Exception) -> JSONResponse:
    """Which field is wrong, what it is and what is expected; what was sent is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 (it is registered for these)
    return answer(422, told(error.errors(), error.body))


_WHY = {
    400: "the request is broken",
    401: "no token, or a wrong one",
    403: "from elsewhere",
    404: "not there",
    408: "too slow",
    409: "not now",
    413: "too large",
    415: "of a kind that is not read",
    421: "under a foreign name",
    422: "cannot be done with what was sent",
    429: "too many requests of this kind at a time",
    500: "something went wrong here",
    503: "too many requests at a time",
}


def also(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns what an address may answer beside its own, for the description of the API."""
    return {status: {"description": _WHY[status], "model": Problem} for status in statuses}


RESPONSES = also(401, 403, 404, 421, 422, 503)
"""What every address may answer beside its own."""
