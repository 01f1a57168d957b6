"""What the service answers, as its OpenAPI says it: a client is made from this, and a test holds answers against it.

Answers are made elsewhere (`SearchResult.to_json`, `problems.py`); nothing is checked against these on its way out.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from shotlake.query.budget import Spent

PROBLEM_TYPE = "application/problem+json"
_REF = "#/components/schemas/{model}"


class HitAnswer(BaseModel):
    """A moment of a video, half-open, with the score in each space (null: it has none there).

    Of its `n_segments` neighbouring segments it names at most 100.
    """

    rank: int
    score: float
    video_uri: str
    start_s: float
    end_s: float
    n_segments: int
    segment_ids: list[str]
    scores: dict[str, float | None]


class MatchAnswer(BaseModel):
    """Whether the best moment is what was asked for."""

    good: bool
    score: float
    threshold: float


class SearchedIndex(BaseModel):
    """What was searched."""

    generation: str
    embed_key: str
    table_version: int
    unindexed_rows: int
    recall_at_10: dict[str, float]


class SearchAnswer(BaseModel):
    """Moments, best first. `cursor` goes on behind them, null if there is nothing more."""

    index: SearchedIndex
    took_ms: dict[str, float]
    partial: bool
    coverage: float
    spent: Spent | None
    match: MatchAnswer | None
    cursor: str | None
    hits: list[HitAnswer]


class ReloadError(BaseModel):
    """Why the last look at the lake changed nothing."""

    code: str
    message: str


class IndexAnswer(BaseModel):
    """The generation that answers."""

    generation: str
    embed_key: str
    model_id: str
    table_version: int
    rows: int
    unindexed_rows: int
    recall_at_10: dict[str, dict[str, float]]
    built_at: datetime
    reload_error: ReloadError | None


class HealthAnswer(BaseModel):
    """The process answers."""

    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """Searches are answered; `loading` another generation beside that."""

    status: Literal["ready"]
    generation: str
    last_look_age_s: float
    loading: bool
    failed_reloads: int


class FieldError(BaseModel):
    """A field of the request, and what is wrong with it."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as of RFC 9457. `code` is stable, `detail` is for a person, `request_id` finds it in the log."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    errors: list[FieldError] = Field(default=[], description="of a body that is not as described, 16 at the most")


FILE = {
    "description": "the file",
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}

_ALWAYS = {403: "a page of another site asks", 421: "not a name of the service", 503: "not now; try again later"}
_CAPPED = _ALWAYS | {
    408: "the body comes too slowly",
    413: "the body is too large",
    429: "too many requests",
    500: "an error of the service",
}
_UPLOAD = _CAPPED | {400: "no JSON", 422: "the query cannot be answered"}
_STATUSES = {"state": _ALWAYS, "capped": _CAPPED, "upload": _UPLOAD, "search": _UPLOAD | {415: "no JSON by its type"}}
_RETRY_AFTER = {"Retry-After": {"description": "seconds to wait", "schema": {"type": "string"}}}


def answers(
    kind: Literal["state", "capped", "upload", "search"], answer: type[BaseModel]
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what it answers, and the problems of routes of its kind."""
    found: dict[int | str, dict[str, Any]] = {200: {"model": answer}}
    for status, text in sorted(_STATUSES[kind].items()):
        schema = {"$ref": _REF.format(model=Problem.__name__)}
        found[status] = {"description": text, "content": {PROBLEM_TYPE: {"schema": schema}}}
        if status in (429, 503):
            found[status]["headers"] = _RETRY_AFTER
    return found


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """An OpenAPI description of this application, with the problem."""
    problem = Problem.model_json_schema(ref_template=_REF)
    schema["components"]["schemas"] |= problem.pop("$defs") | {Problem.__name__: problem}
    return schema
