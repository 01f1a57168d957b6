"""How large an index of so many rows is: pure arithmetic, no faiss. One codec, one nlist and one cut for all spaces.

`effort.py` says what building it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from shotlake.config import IndexConfig
from shotlake.errors import IndexingError

Codec = Literal["exact", "pq", "rabitq", "pqfs"]

PQ_CENTROIDS = 256  # of each sub-quantiser: 8 bits
MIN_POINTS_PER_LIST = 39  # below it faiss itself warns that k-means is starved
ITERATIONS = 12  # of k-means; more change recall by less than its noise
PRUNED_FROM_LISTS = 1_024  # from so many on, SuperKMeans skips most products and finds as good centroids
TWO_LEVELS_FROM_LISTS = 32_768  # from so many on, centroids are found in groups of about the root of their number:
GROUP_POINTS = 256  # rows a group that the groups are found with,
NEAR_GROUPS = 8  # whose lists a row may change to at the end,
NEAR_ITERATIONS = 2  # of k-means over them
HNSW_FROM_LISTS = 32_768  # a flat search of more centroids costs more than the scan
ID_BYTES = 8
BLOCK_ROWS = 8_192  # rows that are handled together while shards are filled
WORKING_BYTES = 64 << 20  # batches of the table, ids, and what allocators keep
COLUMN_BYTES = 300  # of a row in columns.arrow, with a uri of a hundred letters


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What is built for `n_rows` rows of `dim` values; bytes are of one space."""

    n_rows: int
    dim: int
    index_dim: int
    codec: Codec
    nlist: int
    train_rows: int
    n_shards: int
    code_bytes: int

    @property
    def rows_per_shard(self) -> int:
        """Rows of every shard but the last."""
        return max(1, -(-self.n_rows // self.n_shards))

    @property
    def factory(self) -> str:
        """What `faiss.index_factory` calls such an index; the centroids of a flat quantiser are kept as float16."""
        coarse = "_HNSW32" if self.nlist >= HNSW_FROM_LISTS else ""
        names = {"exact": "SQfp16", "pq": f"PQ{self.index_dim // 8}", "pqfs": f"PQ{self.index_dim // 4}x4fs"}
        return f"IVF{self.nlist}{coarse},{names.get(self.codec, 'RaBitQ')}"

    @property
    def trained_bytes(self) -> int:
        """Centroids and codebook, which every shard's file has and memory once."""
        value = 2 if self.nlist < HNSW_FROM_LISTS else 4  # bytes of a centroid's value
        codebook = {"pq": PQ_CENTROIDS, "pqfs": 16}.get(self.codec, 0) * self.index_dim * 4
        return self.nlist * self.index_dim * value + codebook

    @property
    def ram_bytes(self) -> int:
        """Codes, ids, centroids and codebook that a searcher keeps hot."""
        return self.n_rows * (self.code_bytes + ID_BYTES) + self.trained_bytes

    @property
    def disk_bytes(self) -> int:
        """The index, once trained and once a shard, and the float16 rows; columns come on top, once."""
        return self.ram_bytes + self.n_shards * self.trained_bytes + self.n_rows * self.dim * 2

    def build_bytes(self, n_spaces: int, n_queries: int) -> int:
        """Memory that a build needs at its worst: while it trains a space, or while it fills a shard of all of them.

        Training holds a float16 sample of every space, one of them as float32 and once more rotated, and the centroids
        three times.
        """
        sample = self.train_rows * self.index_dim
        training = n_spaces * sample * 2 + sample * 8 + self.nlist * self.index_dim * 12
        return max(training + WORKING_BYTES, self.filling_bytes(n_spaces, n_queries))

    def filling_bytes(self, n_spaces: int, n_queries: int) -> int:
        """Memory to fill a shard of all spaces: lists that grow by doubling, and a block's scores for the queries."""
        lists = self.rows_per_shard * (self.code_bytes + ID_BYTES) * 3 // 2 + self.nlist * self.index_dim * 6
        return n_spaces * lists + BLOCK_ROWS * (self.index_dim * 12 + n_queries * 6) + WORKING_BYTES

    def scratch_bytes(self, n_spaces: int) -> int:
        """What a build of so many spaces stages on the local disk, and a reader of the generation has there."""
        return n_spaces * self.disk_bytes + self.n_rows * COLUMN_BYTES


def plan_index(n_rows: int, dim: int, config: IndexConfig) -> IndexPlan:
    """Sizes for a table version. Errors: IndexingError if there are no rows, or too few to train a codebook."""
    if n_rows < 1:
        raise IndexingError("the table version has no live rows; run shotlake backfill first")
    index_dim = -(-dim // 8) * 8  # zeros behind the last value change no inner product
    exact = n_rows <= config.exact_below
    codec: Codec = "exact" if exact else config.codec
    if codec in ("pq", "pqfs") and n_rows < PQ_CENTROIDS:
        raise IndexingError(
            f"a product quantiser needs {PQ_CENTROIDS} rows to train, the table has {n_rows}; "
            f"set index.exact_below to {n_rows} or more"
        )
    nlist = 1 if exact else list_count(n_rows)
    enough = max(nlist * config.train_points_per_list, PQ_CENTROIDS * MIN_POINTS_PER_LIST)
    return IndexPlan(
        n_rows=n_rows,
        dim=dim,
        index_dim=index_dim,
        codec=codec,
        nlist=nlist,
        train_rows=1 if exact else min(n_rows, enough),
        n_shards=-(-n_rows // config.rows_per_shard),
        code_bytes=code_bytes(codec, index_dim),
    )


def check_budget(plan: IndexPlan, n_spaces: int, config: IndexConfig) -> None:
    """Refuse a generation that is larger than its readers may be; 0 is without limit. Errors: IndexingError."""
    for what, needed, key, allowed in (
        ("RAM", plan.ram_bytes * n_spaces, "index.max_ram_bytes", config.max_ram_bytes),
        ("disk", plan.scratch_bytes(n_spaces), "index.max_disk_bytes", config.max_disk_bytes),
    ):
        if 0 < allowed < needed:
            ways = "take a space out of index.spaces, " if n_spaces > 1 else ""
            if plan.code_bytes > code_bytes("pq", plan.index_dim):
                ways += "lower index.exact_below, " if plan.codec == "exact" else "set index.codec to pq, "
            raise IndexingError(
                f"{plan.n_rows:,} rows as {plan.factory} in {n_spaces} space(s) need about {_amount(needed)} of "
                f"{what}, {key} allows {_amount(allowed)}; {ways}{'or ' if ways else ''}raise {key}"
            )


def _amount(n_bytes: int) -> str:
    scale, unit = next(
        ((at, unit) for at, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")) if n_bytes >= at), (1e3, "kB")
    )
    return f"{n_bytes / scale:,.1f} {unit}"


def code_bytes(codec: Codec, index_dim: int) -> int:
    """Bytes of one vector's code: a byte for 8 values, or 4 bits for 4 of them, or a bit for each and two factors."""
    return {"exact": index_dim * 2, "pq": index_dim // 8, "pqfs": index_dim // 8, "rabitq": index_dim // 8 + 8}[codec]


def list_count(n_rows: int) -> int:
    """nlist: 4096 at a million rows and four times as many a decade, a power of two, with enough rows a list."""
    wanted = 4096 * 4 ** math.log10(n_rows / 1e6)
    affordable = max(1, n_rows // MIN_POINTS_PER_LIST)
    return 2 ** max(0, min(round(math.log2(wanted)), math.floor(math.log2(affordable))))
