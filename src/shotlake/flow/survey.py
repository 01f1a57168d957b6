"""What there is: list a root, compare it with the lake in portions, and put what is to do on disk.

Every listed object is counted in exactly one class of the run's books. Memory does not grow with the archive: a
portion of the listing meets only what the lake knows of its range of URIs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from shotlake import storage
from shotlake.catalog.changes import compare, listed_table, lost_with, progress
from shotlake.catalog.listing import Skipped, default_collection, is_unicode, list_videos
from shotlake.catalog.sources import list_source
from shotlake.flow.run import Run
from shotlake.flow.todo import Todo
from shotlake.records import Video
from shotlake.table.erase import readmit
from shotlake.table.readers import UNIT_COLUMNS, UriRange, finished_units, known_videos, newest, retired_videos
from shotlake.table.rows import table_of, video_rows
from shotlake.table.schemas import RETIRED, VIDEOS

PORTION = 50_000  # listed objects that are compared with the lake together

_REPLACED = pa.schema([("video_id", pa.string()), ("uri", pa.string()), ("now", pa.string()), ("is_open", pa.bool_())])


@dataclass(frozen=True, slots=True)
class Survey:
    """A listed root: the videos to do, and what its objects held before, as (video_id, uri, now, is_open).

    `is_open`: what the object holds now was not done yet when it was listed.
    """

    todo: Todo
    replaced: pa.Table


def check_source(source: str) -> str:
    """The normalised root. Errors: SourceMissing, AccessDenied, ConfigError for a scheme that is not known."""
    root = storage.normalise(source)
    next(list_source(root), None)
    return root


def survey(root: str, run: Run) -> Survey:
    """List a root and find out what of it is new, changed, unfinished or to be tried again."""
    todo, replaced, start = Todo(), [_REPLACED.empty_table()], ""
    items = list_videos(root, default_collection(root), run.config.catalog, run.lake.root)
    with run.measured("list"):
        while part := list(islice(items, PORTION)):
            last = max((item.uri for item in part if is_unicode(item.uri)), default="")
            within = UriRange.between(start, last) if last else UriRange("", "")
            replaced.append(_survey(part, within, root, run, todo))
            start = within.end or start
        _survey([], UriRange(start), root, run, todo)  # what vanished behind the last one
    found = Survey(todo, pa.concat_tables(replaced))
    run.ledger.watched.update(found.replaced.filter(found.replaced["is_open"])["now"].to_pylist())
    return found


def _survey(part: list[Video | Skipped], within: UriRange, root: str, run: Run, todo: Todo) -> pa.Table:
    """Count and record a portion of a listing, which is all of a range of URIs; gives what was replaced there."""
    books, key = run.ledger.videos, run.space.key
    skipped = [item for item in part if isinstance(item, Skipped)]
    listed = listed_table(item for item in part if isinstance(item, Video))
    erased = readmit(run.lake, listed["video_id"].combine_chunks(), key)
    listed = listed.filter(pc.invert(pc.is_in(listed["video_id"], erased)))
    ever = known_videos(run.lake, root, within)
    known = newest(ever, "uri", "at")
    changes = compare(listed, known)
    durations = changes.unchanged.select(["video_id"]).join(known.select(["video_id", "duration_us"]), "video_id")
    units = finished_units(run.lake, key, UNIT_COLUMNS, within.filter)
    standing = progress(durations, units, run.space.clip_spec, run.again)
    books["listed"] += len(part)
    books["skipped"] += len(skipped) + len(erased)
    books["unchanged"] += len(standing.complete)
    books["failed"] += len(standing.exhausted)
    books["vanished"] += len(changes.vanished)
    books["deferred"] += len(listed) - len(standing.complete) - len(standing.exhausted)  # until they are done
    _record_skipped(skipped, known, root, run)
    _record_vanished(changes.vanished, run)
    settled = pa.concat_arrays([rows["video_id"].combine_chunks() for rows in (standing.complete, standing.exhausted)])
    waiting = listed.filter(pc.invert(pc.is_in(listed["video_id"], settled)))
    replaced = _replaced(ever, listed, waiting)
    if run.again.codes:  # the rest waits for an ordinary run
        waiting = waiting.filter(pc.is_in(waiting["video_id"], lost_with(units, run.again.codes)))
    todo.add(waiting)
    return replaced


def _replaced(ever: pa.Table, listed: pa.Table, waiting: pa.Table) -> pa.Table:
    """All else that the listed objects were ever known to hold, so that a run that died leaves nothing behind."""
    pairs = ever.filter(pc.equal(ever["status"], "listed")).group_by(["uri", "video_id"]).aggregate([])
    pairs = pairs.join(listed.select(["uri", "video_id"]).rename_columns(["uri", "now"]), "uri", join_type="inner")
    pairs = pairs.filter(pc.not_equal(pairs["video_id"], pairs["now"]))
    is_open = pc.is_in(pairs["now"], waiting["video_id"].combine_chunks())
    return pairs.append_column("is_open", is_open).select(_REPLACED.names).cast(_REPLACED)


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


def _record_skipped(skipped: list[Skipped], known: pa.Table, root: str, run: Run) -> None:
    """One row of `videos` for each object that is skipped for the first time, with its reason."""
    before = set(known.filter(pc.equal(known["status"], "skipped"))["uri"].to_pylist())
    collection, now = default_collection(root), datetime.now(UTC)
    by_reason: dict[str, list[tuple[Video, None]]] = {}
    for item in skipped:
        if item.uri not in before:
            video = Video(item.uri, "", item.size_bytes, now, collection)
            by_reason.setdefault(item.reason, []).append((video, None))
    rows = [video_rows(videos, root, run.run_id, now, "skipped", reason) for reason, videos in by_reason.items()]
    if rows:
        run.append("videos", pa.concat_tables(rows))


def _record_vanished(vanished: pa.Table, run: Run) -> None:
    """One row of `videos` for each object that is not listed any more; its segments stay until they are erased."""
    if not len(vanished):
        return
    now = datetime.now(UTC)
    replaced = {"status": "vanished", "reason": "not listed", "run_id": run.run_id, "at": now}
    rows = [{**row, **replaced} for row in vanished.to_pylist()]
    run.append("videos", table_of(VIDEOS, rows))
