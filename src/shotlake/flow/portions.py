"""A listing in portions, each against what the lake knows of its range of URIs. Nothing is written here.

Every listed object is counted in exactly one class. Memory does not grow with the archive: a portion meets only the
rows of its range, and the files of other ranges are not opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.catalog.changes import Again, compare, lost_with, progress
from shotlake.catalog.listing import default_collection, list_archive, videos_in
from shotlake.catalog.metadata import Metadata, retold
from shotlake.config import Config
from shotlake.flow.space import VectorSpace
from shotlake.flow.tables import delta_rows, metadata_of
from shotlake.storage import NOT_UNICODE, OBJECTS
from shotlake.table.lake import Lake
from shotlake.table.readers import (
    UNIT_COLUMNS,
    UriRange,
    finished_units,
    known_videos,
    listed_again,
    newest,
    sampled_uris,
)
from shotlake.table.tombstones import Signs, Tombstones

CUT_EVERY = 10_000  # objects of the last catalog between two cuts of a listing
PORTION = 50_000  # listed objects that are compared with the lake together

REPLACED = pa.schema([("video_id", pa.string()), ("uri", pa.string()), ("now", pa.string()), ("is_open", pa.bool_())])


@dataclass(frozen=True, slots=True)
class Scope:
    """What a listing is compared with: the lake, a space of it, and what of its losses is tried again."""

    lake: Lake
    space: VectorSpace
    config: Config
    again: Again


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a listing, which is all of a range of URIs.

    `counts` has what is listed by its class of the books; what waits is `deferred` until it is done. `skipped` are
    those that were not skipped before; `back` are ids of retired videos whose content is there again.
    """

    counts: Counter[str]
    skips: Counter[str]  # what is skipped by its reason
    skipped: pa.Table  # OBJECTS
    vanished: pa.Table
    replaced: pa.Table  # REPLACED
    waiting: pa.Table  # LISTED
    back: pa.Array
    told: pa.Table  # rows of `videos` whose metadata are not what they were


def portions(root: str, scope: Scope) -> Iterator[Portion]:
    """List a root and find out what of it is new, changed, unfinished or to be tried again."""
    start = ""
    cuts = sampled_uris(
        scope.lake, "videos", pc.field("root") == root, CUT_EVERY
    )  # a flat prefix can be cut by what was there the last time only
    config = scope.config.catalog
    metadata = metadata_of(root, config)
    signs = Tombstones.of(scope.lake.root).signs
    pages = list_archive(root, config, scope.lake.root, cuts, delta_rows(root))
    for found in _parts(pages):
        last = pc.max(found.filter(_is_named(found))["uri"]).as_py()
        within = UriRange.between(start, last) if last else UriRange("", "")
        yield _compared(found, within, root, scope, metadata, signs)
        start = within.end or start
    yield _compared(OBJECTS.empty_table(), UriRange(start), root, scope, None, signs)  # vanished at the end


def _parts(pages: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same objects, PORTION at a time."""
    rest = OBJECTS.empty_table()
    for page in pages:
        rest = pa.concat_tables([rest, pa.table(page)])
        while len(rest) >= PORTION:
            yield rest.slice(0, PORTION)
            rest = rest.slice(PORTION)
    if len(rest):
        yield rest


def _is_named(found: pa.Table) -> pa.ChunkedArray:
    """[N] False where the URI of an object is only written out."""
    return pc.not_equal(found["reason"], NOT_UNICODE)


def _compared(
    found: pa.Table, within: UriRange, root: str, scope: Scope, metadata: Metadata | None, signs: Signs
) -> Portion:
    lake, key, again = scope.lake, scope.space.key, scope.again
    skipped = found.filter(pc.not_equal(found["reason"], ""))
    listed = videos_in(found, default_collection(root), scope.config.catalog)
    listed = metadata.fill(listed) if metadata else listed
    n_listed = len(listed)
    listed = listed.filter(pc.invert(_has_sign(listed, signs)))
    back, erased = listed_again(lake, listed["video_id"].combine_chunks(), key)
    listed = listed.filter(pc.invert(pc.is_in(listed["video_id"], erased)))
    n_erased = n_listed - len(listed)
    ever = known_videos(lake, root, within)
    known = newest(ever, "uri", "at")
    changes = compare(listed, known)
    durations = changes.unchanged.select(["video_id"]).join(known.select(["video_id", "duration_us"]), "video_id")
    units = finished_units(lake, key, UNIT_COLUMNS, within.filter)
    units = units.filter(pc.invert(pc.is_in(units["video_id"], back)))
    standing = progress(durations, units, scope.space.clip_spec, again)
    settled = pa.concat_arrays([rows["video_id"].combine_chunks() for rows in (standing.complete, standing.exhausted)])
    waiting = listed.filter(pc.invert(pc.is_in(listed["video_id"], settled)))
    counts = Counter(
        listed=len(found),
        skipped=len(skipped) + n_erased,
        unchanged=len(standing.complete),
        failed=len(standing.exhausted),
        vanished=len(changes.vanished),
        deferred=len(waiting),
    )
    before = known.filter(pc.equal(known["status"], "skipped"))["uri"].combine_chunks()
    replaced = _replaced(ever, listed, waiting)
    if again.codes:  # the rest waits for an ordinary run
        waiting = waiting.filter(pc.is_in(waiting["video_id"], lost_with(units, again.codes)))
    new = skipped.filter(pc.and_not(_is_named(skipped), pc.is_in(skipped["uri"], before)))
    told = retold(changes.unchanged, known) if metadata else known.slice(0, 0)
    skips = Counter(skipped["reason"].to_pylist()) + Counter(erased=n_erased)
    return Portion(counts, skips, new, changes.vanished, replaced, waiting, back, told)


def _has_sign(listed: pa.Table, signs: Signs) -> pa.Array:
    """[N] True for objects whose name was erased, or in a store whose content was."""
    if not signs:
        return pa.repeat(False, len(listed))
    rows = zip(*(listed[name].to_pylist() for name in ("uri", "etag", "size_bytes")))
    return pa.array([signs.is_erased(uri) or signs.has_etag(uri, etag, size) for uri, etag, size in rows], pa.bool_())


def _replaced(ever: pa.Table, listed: pa.Table, waiting: pa.Table) -> pa.Table:
    """All else that the listed objects were ever known to hold, so that a run that died leaves nothing behind."""
    pairs = ever.filter(pc.equal(ever["status"], "listed")).group_by(["uri", "video_id"]).aggregate([])
    pairs = pairs.join(listed.select(["uri", "video_id"]).rename_columns(["uri", "now"]), "uri", join_type="inner")
    pairs = pairs.filter(pc.not_equal(pairs["video_id"], pairs["now"]))
    is_open = pc.is_in(pairs["now"], waiting["video_id"].combine_chunks())
    return pairs.append_column("is_open", is_open).select(REPLACED.names).cast(REPLACED)
