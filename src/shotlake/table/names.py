"""Under which names the lake knows a video: those that are asked for, those of before and after a move, and copies.

An erasure is of a content, so it has to find it under every name that the lake ever had for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.table.lake import Lake
from shotlake.table.readers import erased_videos
from shotlake.table.tombstones import Signs


def find_videos(lake: Lake, selection: pc.Expression) -> dict[str, str]:
    """uri by video_id of everything the lake ever knew that the selection of `videos` rows names.

    Rows of `segments` and `units` with those uris count too, such as earlier content of the same object, and so does
    what the object was called before its archive moved.
    """
    uris = pc.unique(lake.read("videos", ["uri"], selection)["uri"])
    found = _named(lake, pc.field("uri").isin(uris))
    return found | _names_of(lake, found, _linked(lake, found, "superseded_by", "video_id"))


def later_names(lake: Lake, videos: Mapping[str, str]) -> dict[str, str]:
    """uri by video_id of what these videos are called since their archive moved."""
    return _names_of(lake, videos, _linked(lake, videos, "video_id", "superseded_by"))


def copies(lake: Lake, signs: Signs) -> dict[str, str]:
    """uri by video_id of what has rows under other names, although its content was erased.

    A content is known by its hash, where the object was read as a whole, or by its size and the etag of its store.
    """
    if not (signs.contents or signs.etags):
        return {}
    units = lake.read("units", ["video_id", "uri", "content_sha256"], pc.field("uri").is_valid())
    units = units.filter(pc.invert(pc.is_in(units["video_id"], erased_videos(lake))))
    hashed = [content for content in pc.unique(units["content_sha256"]).to_pylist() if signs.is_erased_content(content)]
    videos = lake.read("videos", ["video_id", "uri", "etag", "size_bytes"], pc.starts_with(pc.field("uri"), "s3://"))
    tagged = [
        row["video_id"]
        for batch in videos.to_batches(max_chunksize=65_536)  # as Python objects a whole archive is too much
        for row in batch.to_pylist()
        if signs.has_etag(row["uri"], row["etag"], row["size_bytes"])
    ]
    is_copy = pc.or_(
        pc.is_in(units["content_sha256"], pa.array(hashed, pa.string())),
        pc.is_in(units["video_id"], pa.array(tagged, pa.string())),
    )
    units = units.filter(is_copy)
    return dict(zip(units["video_id"].to_pylist(), units["uri"].to_pylist()))


def _linked(lake: Lake, videos: Iterable[str], known: str, wanted: str) -> set[str]:
    """Ids that `retired` leads to from these, step by step, less themselves and what was erased."""
    links = lake.read("retired", [known, wanted], pc.field("superseded_by").is_valid())
    found = step = set(videos)
    while step:
        ids = pa.array(sorted(step), pa.string())
        step = set(links.filter(pc.is_in(links[known], ids))[wanted].to_pylist()) - found
        found = found | step
    return found - set(videos) - set(erased_videos(lake).to_pylist())


def _named(lake: Lake, selection: pc.Expression) -> dict[str, str]:
    found: dict[str, str] = {}
    for table in ("videos", "units", "segments"):
        rows = lake.read(table, ["video_id", "uri"], selection & pc.field("uri").is_valid())
        pairs = rows.group_by(["video_id", "uri"]).aggregate([])
        found |= dict(zip(pairs["video_id"].to_pylist(), pairs["uri"].to_pylist()))
    return found


def _names_of(lake: Lake, videos: Mapping[str, str], more: set[str]) -> dict[str, str]:
    """uri by video_id of `more`, other names of `videos`.

    Where an object of another content has such a name by now, that one is not meant: then the id stands under one of
    the names that are.
    """
    if not more:
        return {}
    found = _named(lake, pc.field("video_id").isin(pa.array(sorted(more), pa.string())))
    heirs = _named(lake, pc.field("uri").isin(pa.array(sorted(set(found.values())), pa.string())))
    gone = set(lake.read("retired", ["video_id"])["video_id"].to_pylist())
    taken = {uri for video_id, uri in heirs.items() if video_id not in {*found, *videos, *gone}}
    meant = min(videos.values())
    return {video_id: meant if uri in taken else uri for video_id, uri in found.items()}
