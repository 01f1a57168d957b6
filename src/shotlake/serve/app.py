"""The HTTP API over a live index: FastAPI, without Ray, so that a test needs no cluster.

Every error is problem+json (`problems.py`); unknown fields are refused; a body is never larger than its cap.
"""

from __future__ import annotations

from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

import shotlake
from shotlake.config import ServeConfig
from shotlake.errors import TooSlow
from shotlake.query.budget import Budget
from shotlake.query.request import SearchRequest
from shotlake.query.result import SearchResult
from shotlake.query.search import LakeSearch
from shotlake.serve.answer import (
    FILE,
    HealthAnswer,
    IndexAnswer,
    ReadyAnswer,
    ReloadError,
    SearchAnswer,
    answers,
    described,
)
from shotlake.serve.body import SearchBody, parse_upload
from shotlake.serve.canary import Canary
from shotlake.serve.files import FileKind, UploadReader
from shotlake.serve.guard import UPLOAD_PATH, RequestGuard, Traffic
from shotlake.serve.live import LiveIndex
from shotlake.serve.metrics import Metrics
from shotlake.serve.problems import add_problem_handlers, plainly

OPENING, MISSED_LOOKS = 4, 10  # older generations at a time; times `poll_s` without a look until it hangs


class _Described(FastAPI):
    """Its description has the problem."""

    def openapi(self) -> dict[str, Any]:
        return described(super().openapi())


def create_app(live: LiveIndex, config: ServeConfig, traffic: Traffic | None = None) -> FastAPI:
    """The application over `live`, which somebody else refreshes, as `traffic` is drained by somebody else.

    `config.concurrency` searches run side by side, and `config.upload_concurrency` uploads.
    """
    app = _Described(title="shotlake", version=shotlake.__version__, docs_url=None, redoc_url=None)
    traffic = traffic or Traffic()
    metrics = Metrics(live, traffic)
    add_problem_handlers(app)
    _add_searches(app, live, config)
    _add_states(app, live, metrics)
    app.add_middleware(RequestGuard, config=config, observe=metrics.observe, traffic=traffic)  # the outermost
    return app


def _add_searches(app: FastAPI, live: LiveIndex, config: ServeConfig) -> None:
    searches, uploads = CapacityLimiter(config.concurrency), CapacityLimiter(config.upload_concurrency)
    readers = CapacityLimiter(config.upload_concurrency)
    openings, canary = CapacityLimiter(OPENING), Canary(live, searches, config.answer_s)
    reader, n_asked = UploadReader(live), 0

    async def snapshot_for(request: SearchRequest, budget: Budget) -> LakeSearch:
        """What has to be opened first takes no place of a search meanwhile."""
        found = live.snapshot_at_hand(request)
        if found:
            return found
        nonlocal n_asked
        if n_asked >= OPENING + config.concurrency:
            raise TooSlow("older generations are being opened for others; try again in a moment")
        n_asked += 1  # not those in the limiter's queue, which a request enters only after it was asked here
        try:
            return await to_thread.run_sync(live.snapshot, request, budget, limiter=openings)
        finally:
            n_asked -= 1

    @app.post("/v1/search", responses=answers("search", SearchAnswer))
    async def search(body: SearchBody) -> JSONResponse:
        """Moments for a query, best first."""
        asked, budget = body.to_request(), Budget.lasting(config.answer_s)
        snapshot = await snapshot_for(asked, budget)
        found = await to_thread.run_sync(live.answer, asked, budget, snapshot, limiter=searches)
        return JSONResponse(found.to_json())

    @app.post(UPLOAD_PATH, responses=answers("upload", SearchAnswer), openapi_extra={"requestBody": FILE})
    async def upload(
        request: Request,
        kind: Annotated[FileKind, Query(description="what of the file counts")],
        weight: Annotated[float, Query(gt=0, le=1000)] = 1.0,
        search: Annotated[str, Query(description="JSON of POST /v1/search, whose query may be left out")] = "{}",
    ) -> JSONResponse:
        """Moments that are like the file in the body: a picture, a sound or a clip, alone or with a query."""
        body, budget = parse_upload(search), Budget.lasting(config.answer_s)

        def answer(content: bytes) -> SearchResult:
            return live.answer(body.to_request(reader.term(content, kind, weight)), budget)

        async with uploads:  # files that wait stay where the guard has put them
            found = await to_thread.run_sync(answer, await request.body(), limiter=readers)
        return JSONResponse(found.to_json())

    @app.get("/readyz", responses=answers("state", ReadyAnswer))
    async def ready() -> JSONResponse:
        """A search is answered, by an index that is looked after; 503 with the reason where it is not."""
        generation, look = live.current().manifest.generation, live.look
        if look.stuck_s > MISSED_LOOKS * config.poll_s:
            raise TooSlow(f"the last look at the lake ended {look.age_s:.0f} s ago; the next one hangs (serve.poll_s)")
        await canary.check()
        state = ReadyAnswer(
            status="ready",
            generation=generation,
            last_look_age_s=round(look.age_s, 3),
            loading=look.is_loading,
            failed_reloads=live.failed_reloads,
        )
        return JSONResponse(state.model_dump())


def _add_states(app: FastAPI, live: LiveIndex, metrics: Metrics) -> None:
    @app.get("/v1/index", responses=answers("capped", IndexAnswer))
    async def index() -> JSONResponse:
        """The generation that answers, and whether the last look at the index went wrong."""
        current, error = live.current(), live.error
        manifest = current.manifest
        state = IndexAnswer(
            generation=manifest.generation,
            embed_key=manifest.embed_key,
            model_id=manifest.fingerprint.model_id,
            table_version=manifest.table_version,
            rows=manifest.n_rows,
            unindexed_rows=current.rows.fresh.counted,
            recall_at_10={space: dict(manifest.recall_at_10(space)) for space in manifest.spaces},
            built_at=manifest.built_at,
            reload_error=ReloadError(code=error.code, message=plainly(error)) if error else None,
        )
        return JSONResponse(state.model_dump(mode="json"))

    @app.get("/healthz", responses=answers("state", HealthAnswer))
    async def healthy() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    @app.get("/metrics", include_in_schema=False)
    async def exposition() -> Response:
        """Prometheus text."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)
