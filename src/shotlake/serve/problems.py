"""What a client sees when something is wrong: RFC 9457 problem+json with a stable code and the request's id.

An error of ours has its code from the error tree; those of HTTP are named here.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shotlake.errors import IndexingError, PreflightError, QueryError, ShotlakeError, StoreError, TooSlow
from shotlake.serve.answer import PROBLEM_TYPE

_log = logging.getLogger(__name__)
DETAILS, WORDS = 16, 200  # errors in an answer, and letters of one
_NOT_READY = (PreflightError, IndexingError, StoreError)  # nothing is wrong with the request; it may work later
_TOLD = (QueryError, TooSlow)  # their words are for whoever asked


def problem(request_id: str, status: int, code: str, detail: str, **more: Any) -> JSONResponse:
    """A problem+json answer; 429 and 503 say after how many seconds to come back."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "code": code}
    retry_after = {429: "1", 503: "10"}.get(status)
    headers = {"Retry-After": retry_after} if retry_after else None
    return JSONResponse(body | {"detail": detail, "request_id": request_id} | more, status, headers, PROBLEM_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""

    @app.exception_handler(ShotlakeError)
    async def known(request: Request, error: ShotlakeError) -> JSONResponse:
        status = 422 if isinstance(error, QueryError) else 503 if isinstance(error, _NOT_READY) else 500
        if status != 422:
            _log.error("request_id=%s code=%s message=%s", request.state.id, error.code, error.message)
        detail = error.message if isinstance(error, _TOLD) else plainly(error)
        return problem(request.state.id, status, error.code, detail)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        told = error.errors()
        if any(e["type"] == "json_invalid" for e in told):
            return problem(request.state.id, 400, "bad_json", "the body is not valid JSON")
        found = [{"field": _field(e["loc"]), "message": e["msg"][:WORDS]} for e in told[:DETAILS]]
        more = f"; and {len(told) - DETAILS} more" if len(told) > DETAILS else ""
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in found) + more
        return problem(request.state.id, 422, "bad_request", detail, errors=found)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = HTTPStatus(error.status_code).name.lower()
        answer = problem(request.state.id, error.status_code, code, str(error.detail))
        answer.headers.update(error.headers or {})
        return answer


def plainly(error: ShotlakeError) -> str:
    """What is wrong with the service, without what a stranger has no business to know, such as where the lake lies."""
    kind = (type(error).__doc__ or "").strip().splitlines()[0].rstrip(".")
    return f"{kind[:1].lower()}{kind[1:]}; the log of the service says more under this code and request id"


def _field(location: tuple[str | int, ...]) -> str:
    """Names come from the request, so they are as long as somebody likes."""
    return ".".join(str(part) for part in location if part != "body")[:WORDS] or "body"
