"""What there is: list a root, compare it with the lake in portions, and put what is to do on disk.

Every listed object is counted in exactly one class of the run's books.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.catalog.listing import default_collection
from shotlake.catalog.sources import is_list, list_source, span
from shotlake.config import CatalogConfig
from shotlake.flow.portions import REPLACED, portions
from shotlake.flow.run import Run
from shotlake.flow.tables import delta_rows, metadata_of
from shotlake.flow.todo import Todo
from shotlake.records import Video
from shotlake.table.maintenance import forget
from shotlake.table.readers import retired_videos
from shotlake.table.rows import table_of, video_rows
from shotlake.table.schemas import RETIRED, VIDEOS


@dataclass(frozen=True, slots=True)
class Survey:
    """A listed root: the videos to do, and what its objects held before, as (video_id, uri, now, is_open).

    `is_open`: what the object holds now was not done yet when it was listed.
    """

    todo: Todo
    replaced: pa.Table


def check_source(source: str, config: CatalogConfig) -> str:
    """The normalised root, whose list and metadata can be read.

    Errors: SourceMissing, AccessDenied, BadTable, ConfigError for a scheme that is not known.
    """
    root = storage.normalise(source)
    rows = delta_rows(root)
    if rows or is_list(root):
        span(root, rows)  # reads it as a whole, and asks for none of its objects
    else:
        next(list_source(root), None)
    metadata_of(root, config)
    return root


def survey(root: str, run: Run) -> Survey:
    """List a root, under its lease; what was skipped or has vanished is recorded, what is to do waits on disk."""
    todo, replaced = Todo(), [REPLACED.empty_table()]
    with run.measured("list"):
        for part in portions(root, run.scope):
            if len(part.back):
                forget(run.lake, part.back, run.space.key, run.run_id)
            run.ledger.videos.update(part.counts)
            run.ledger.skips.update(part.skips)
            _record_skipped(part.skipped, root, run)
            _record(part.vanished, {"status": "vanished", "reason": "not listed"}, run)  # its segments stay
            _record(part.told, {}, run)
            todo.add(part.waiting)
            replaced.append(part.replaced)
    found = Survey(todo, pa.concat_tables(replaced))
    run.ledger.watched.update(found.replaced.filter(found.replaced["is_open"])["now"].to_pylist())
    return found


def supersede(found: Survey, run: Run) -> None:
    """Retire the rows of what an object held before, once what it holds now is done."""
    done = pc.is_in(found.replaced["now"], pa.array(sorted(run.ledger.done), pa.string()))
    old = found.replaced.filter(pc.or_(done, pc.invert(found.replaced["is_open"])))
    if not len(old):
        return
    old = old.filter(pc.invert(pc.is_in(old["video_id"], retired_videos(run.lake, run.space.key))))
    same = {"embed_key": run.space.key, "reason": "superseded", "run_id": run.run_id, "at": datetime.now(UTC)}
    gone = [
        {**same, "video_id": row["video_id"], "uri": row["uri"], "superseded_by": row["now"]} for row in old.to_pylist()
    ]
    if gone:
        run.append("retired", table_of(RETIRED, gone))


def _record_skipped(skipped: pa.Table, root: str, run: Run) -> None:
    """A row of `videos` for each, with its reason."""
    collection, now = default_collection(root), datetime.now(UTC)
    by_reason: dict[str, list[tuple[Video, None]]] = {}
    for row in skipped.select(["uri", "size_bytes", "reason"]).to_pylist():
        video = Video(row["uri"], "", row["size_bytes"], now, collection)
        by_reason.setdefault(row["reason"], []).append((video, None))
    rows = [video_rows(videos, root, run.run_id, now, "skipped", reason) for reason, videos in by_reason.items()]
    if rows:
        run.append("videos", pa.concat_tables(rows))


def _record(known: pa.Table, replaced: dict[str, str], run: Run) -> None:
    """Known rows of `videos` once more, as they are now."""
    if len(known):
        now = {**replaced, "run_id": run.run_id, "at": datetime.now(UTC)}
        run.append("videos", table_of(VIDEOS, [{**row, **now} for row in known.to_pylist()]))
