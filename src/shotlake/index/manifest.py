"""The manifest of a generation: everything that a reader needs to trust and to search it; written last, never changed.

Paths are relative to `<lake>/index/<embed_key>/`, so that a generation can name files of an earlier one. A row number
is global in its generation and the same in every space: `shards[i].first_row` + offset in the shard.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from shotlake.errors import CorruptGeneration, LakeFormat
from shotlake.index.sizing import Codec, IndexPlan
from shotlake.records import Fingerprint, Space

FORMAT = 1
MANIFEST_NAME, TOMBSTONES_NAME = "manifest.json", "tombstones.i64"
INDEX_NAME, ROWS_NAME, COLUMNS_NAME, STATS_NAME = "ivf.faiss", "rows.f16", "columns.arrow", "stats.json"  # of a shard

QueryKind = Literal["text", "segment"]


class Part(BaseModel):
    """A frozen piece of a manifest; keys of a later minor version are left alone."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class File(Part):
    """A stored file and what its bytes hash to."""

    path: str
    size_bytes: int
    sha256: str


class TunedPoint(Part):
    """One measured setting: lists probed, candidates re-ranked, recall@10 with its lower 95% bound, ms a query.

    They are of one half of the queries; `chosen_by`: the bound that the other half has, by which points are chosen. Of
    generations of before, all are of the same queries.
    """

    nprobe: int
    rerank: int
    recall: float
    lower_bound: float
    ms: float
    chosen_by: float = 1.0

    def reaches(self, target: float) -> bool:
        """Whether both halves say so."""
        return min(self.lower_bound, self.chosen_by) >= target


class CollectionRecall(Part):
    """Recall@10 at the chosen point of segments of one collection; None: of all that are not measured alone."""

    collection: str | None
    n_queries: int
    recall: float
    lower_bound: float


class MatchScore(Part):
    """The exact score from which the best row of a query is taken for an answer, told from the scores alone.

    `matched`: the mean of the queries with an answer; `matched_share`: how many of the measured ones have one;
    `false_share`: so many of the others reach the threshold as well. `calibration.py` says how.
    """

    threshold: float
    matched: float
    matched_share: float
    false_share: float


class FilteredRecall(Part):
    """Recall@10 at the chosen point, with its lower 95% bound, under a filter that lets a `share` of the rows through:
    drawn at random, or a run of neighbours in the table, such as those of one collection.
    """

    by: Literal["random", "run"]
    share: float
    recall: float
    lower_bound: float


class Tuning(Part):
    """How good one kind of query is in one space: which queries were measured, the curve, and the point chosen.

    `filtered`: the same under filters, of which queries look `reach` times as far; empty where every row that a filter
    lets through is scored, and of generations of before.
    """

    source: str
    n_queries: int
    target: float
    chosen: TunedPoint
    curve: tuple[TunedPoint, ...]
    reach: float = 1.0
    filtered: tuple[FilteredRecall, ...] = ()
    strong: float = 0.0  # the best exact score that one in twenty of the queries exceeds
    by_collection: tuple[CollectionRecall, ...] = ()  # the largest ones; where segments ask
    match: MatchScore | None = None  # None: the scores do not tell matches from the rest


class Shard(Part):
    """A run of rows, with the same numbers in every space."""

    name: str
    first_row: int
    n_rows: int
    collections: tuple[str, ...]
    recorded_from: datetime | None
    recorded_to: datetime | None


class SpaceShard(Part):
    """One space of one shard: the directory of its files, its vectors and how well they fit the codebook."""

    shard: str
    path: str
    n_vectors: int
    imbalance: float
    quantisation_error: float


class DenseList(Part):
    """A list of which every row is scored, as `dense.py` says; `radius`: how far from its centroid they stand."""

    number: int
    radius: float


class SpaceEntry(Part):
    """One vector space of the generation."""

    epoch: str
    trained: str
    n_vectors: int
    shards: tuple[SpaceShard, ...]
    first_shards: int  # so many were filled with the rows that the epoch was trained on; later ones are fresh
    tuning: dict[QueryKind, Tuning]
    truths: dict[QueryKind, str]
    dense: tuple[DenseList, ...] = ()


class Cost(Part):
    """What the build took, measured."""

    cpu_s: float
    wall_s: float


class Manifest(Part):
    """A whole generation. The shards hold `n_rows`, of which `retired_rows` are tombstones: of videos that are not live
    any more, or embedded again. The table version holds `plan.n_rows` live rows.
    """

    format: int = FORMAT
    generation: str
    parent: str | None
    embed_key: str
    fingerprint: Fingerprint
    metric: Literal["inner_product"] = "inner_product"
    faiss: str
    table_uri: str
    table_version: int
    built_at: datetime
    plan: IndexPlan
    min_queries: int
    spaces_asked: tuple[Space, ...] = ()  # a space without a single vector is not among `spaces`
    retired_rows: int = 0
    tombstones: str = ""  # file of the row numbers that are never found, int64 ascending; "" if there are none
    shards: tuple[Shard, ...]
    spaces: dict[Space, SpaceEntry]
    files: tuple[File, ...]
    cost: Cost

    @property
    def n_rows(self) -> int:
        """Rows in all shards."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def table_rows(self) -> int:
        """Live rows of the table version."""
        return self.plan.n_rows

    @property
    def codec(self) -> Codec:
        """How vectors are coded: exact, pq or rabitq."""
        return self.plan.codec

    @property
    def path(self) -> str:
        """Where the manifest stands, relative to the folder of its embed_key."""
        return f"{self.generation}/{MANIFEST_NAME}"

    def part(self, run: slice) -> Manifest:
        """The generation with a run of its shards alone and the files that they need; row numbers stay as they are."""
        spaces = {space: entry.model_copy(update={"shards": entry.shards[run]}) for space, entry in self.spaces.items()}
        folders = tuple(f"{shard.path}/" for entry in spaces.values() for shard in entry.shards)
        shared = {self.tombstones, *(entry.trained for entry in spaces.values())}
        files = tuple(file for file in self.files if file.path in shared or file.path.startswith(folders))
        return self.model_copy(update={"shards": self.shards[run], "spaces": spaces, "files": files})

    def recall_at_10(self, space: Space) -> dict[QueryKind, float]:
        """The recall that was measured at the chosen points of a space."""
        return {kind: tuning.chosen.recall for kind, tuning in self.spaces[space].tuning.items()}

    def to_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        return self.model_dump(mode="json")

    def to_bytes(self) -> bytes:
        """JSON, as stored; the pointer names the sha256 of these bytes."""
        return self.model_dump_json(indent=1).encode()


def sha256(data: bytes) -> str:
    """Hex digest of the bytes."""
    return hashlib.sha256(data).hexdigest()


def parse_manifest(data: bytes, expected_sha256: str, uri: str) -> Manifest:
    """The manifest in `data`. Errors: CorruptGeneration for other bytes than published, LakeFormat for a newer one."""
    if sha256(data) != expected_sha256:
        raise CorruptGeneration(f"{uri} is not the file that was published; roll back or build the index again")
    try:
        tree = json.loads(data)
    except ValueError:
        raise CorruptGeneration(f"{uri} is no manifest; build the index again") from None
    if tree.get("format") != FORMAT:
        raise LakeFormat(
            f"{uri} has format {tree.get('format')}, this version knows {FORMAT}; update shotlake or build again"
        )
    try:
        return Manifest.model_validate(tree)
    except ValidationError as error:
        raise CorruptGeneration(f"{uri} lacks {error.errors()[0]['loc']}; build the index again") from None
