"""What a generation needs to be published: told by one function to whoever publishes, advises or updates."""

from __future__ import annotations

from collections.abc import Iterator

from shotlake.index.manifest import Manifest, QueryKind, Tuning
from shotlake.records import Space

COLLECTION_SLACK = 0.03  # so far behind the target a measured collection may be: its recall, of a few queries, is noisy


def least_of_collections(target: float) -> float:
    """The recall that each measured collection has to have."""
    return target - COLLECTION_SLACK


def shortfalls(manifest: Manifest) -> tuple[str, ...]:
    """What keeps a generation from being published: too few queries, or a recall under its target, also of one
    collection.
    """
    tunings = [
        (space, kind, tuning) for space, entry in manifest.spaces.items() for kind, tuning in entry.tuning.items()
    ]
    return tuple(why for space, kind, tuning in tunings for why in _missed(manifest, space, kind, tuning))


def _missed(manifest: Manifest, space: Space, kind: QueryKind, tuning: Tuning) -> Iterator[str]:
    if kind == "text" and tuning.n_queries < manifest.min_queries:
        yield (
            f"the recall was measured with {tuning.n_queries} text queries from {tuning.source}; "
            f"index.min_queries asks for {manifest.min_queries}; name more in index.query_file"
        )
    ways = f"raise index.exact_below above {manifest.n_rows} rows or use another index.codec"
    point = tuning.chosen
    if point.lower_bound < tuning.target:
        yield (
            f"recall@10 of {kind} queries in {space} is {point.recall:.4f}, lower 95% bound {point.lower_bound:.4f}, "
            f"under {tuning.target}; {ways}"
        )
    for each in tuning.by_collection:
        if each.recall < least_of_collections(tuning.target):
            name = "the smaller collections" if each.collection is None else f"collection {each.collection!r}"
            yield (
                f"recall@10 of {each.n_queries} {kind} queries of {name} in {space} is {each.recall:.4f}, more than "
                f"{COLLECTION_SLACK} under {tuning.target}; {ways}"
            )
