"""What an index would be and cost, before it is built: the sizes and CPU seconds of `index`, priced by the book."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from shotlake.config import Config
from shotlake.errors import IndexingError
from shotlake.flow.index_source import IndexSource, index_section, query_texts
from shotlake.flow.space import VectorSpace, open_space
from shotlake.index.build import updated_plan
from shotlake.index.effort import Effort, effort
from shotlake.index.manifest import Manifest
from shotlake.index.rows import MOST_SEGMENT_QUERIES
from shotlake.index.sizing import IndexPlan, check_budget, plan_index
from shotlake.records import Space
from shotlake.report.prices import load_prices

Action = Literal["build", "update"]


@dataclass(frozen=True, slots=True)
class PlannedIndex:
    """A generation that is not built yet. Bytes are of all spaces together; `refused` says why it would not be built.

    `build_bytes`: the memory of the process that builds. `fresh_rows`: of an update, what is added; None: all is built.
    """

    plan: IndexPlan
    spaces: tuple[Space, ...]
    fresh_rows: int | None
    build_bytes: int
    effort: Effort
    usd: float
    price_basis: str
    refused: str

    @property
    def action(self) -> Action:
        """Whether an epoch is trained or another's is taken."""
        return "build" if self.fresh_rows is None else "update"

    @property
    def ram_bytes(self) -> int:
        """What readers keep hot."""
        return self.plan.ram_bytes * len(self.spaces)

    @property
    def disk_bytes(self) -> int:
        """Codes, float16 rows and columns."""
        return self.plan.scratch_bytes(len(self.spaces))

    def to_json(self) -> dict[str, Any]:
        """What `shotlake index plan --json` prints."""
        plan = self.plan
        return {
            "action": self.action,
            "rows": plan.n_rows,
            "fresh_rows": self.fresh_rows,
            "dim": plan.dim,
            "spaces": list(self.spaces),
            "factory": plan.factory,
            "codec": plan.codec,
            "nlist": plan.nlist,
            "train_rows": plan.train_rows,
            "shards": plan.n_shards,
            "ram_bytes": self.ram_bytes,
            "disk_bytes": self.disk_bytes,
            "build_bytes": self.build_bytes,
            "cpu_s": self.effort.cpu_s,
            "cpu_s_by_part": {name.removesuffix("_s"): seconds for name, seconds in asdict(self.effort).items()},
            "usd": self.usd,
            "price_basis": self.price_basis,
            "refused": self.refused,
        }


def plan_build(config: Config, rows: int = 0, dim: int = 0) -> PlannedIndex:
    """What `index build` would build and cost, of so many rows of so many values; 0: the lake's, and the encoder's.

    Nothing is written, and where rows are given no lake is opened. Errors: SourceMissing (no lake), NoIndex (no rows
    yet), IndexingError (too few rows to train), NoPrice.
    """
    space = open_space(config)
    return priced_build(config, space, rows or IndexSource(config, space).n_rows, dim or space.encoder.dim)


def priced_build(config: Config, space: VectorSpace, n_rows: int, dim: int) -> PlannedIndex:
    """Of all rows. Errors: IndexingError (too few rows to train), NoPrice."""
    section = index_section(config, space)
    return _priced(plan_index(n_rows, dim, section), section.spaces, len(query_texts(config, space)[1]), config)


def priced_update(parent: Manifest, fresh_rows: int, config: Config) -> PlannedIndex:
    """Of fresh rows beside those of `parent`. Errors: NoPrice."""
    plan = updated_plan(parent, parent.n_rows + fresh_rows)
    n_texts = max(entry.tuning["text"].n_queries for entry in parent.spaces.values())
    return _priced(plan, tuple(parent.spaces), n_texts, config, fresh_rows)


def _priced(
    plan: IndexPlan, spaces: tuple[Space, ...], n_texts: int, config: Config, fresh_rows: int | None = None
) -> PlannedIndex:
    """Join a plan with what it costs; `n_texts`: text queries that it is tuned with. Errors: NoPrice, ConfigError."""
    n_queries = n_texts + MOST_SEGMENT_QUERIES
    book = load_prices(config.report)
    price = book.price_of(config.report.instance)
    needed = effort(plan, len(spaces), n_queries, fresh_rows)
    return PlannedIndex(
        plan=plan,
        spaces=spaces,
        fresh_rows=fresh_rows,
        build_bytes=_memory_bytes(plan, len(spaces), n_queries, fresh_rows, config),
        effort=needed,
        usd=needed.cpu_s / 3600 * price.core_usd_per_hour,
        price_basis=f"{price.describe(config.report.instance)}; {book.name}",
        refused=_refusal(plan, len(spaces), config),
    )


def _memory_bytes(plan: IndexPlan, n_spaces: int, n_queries: int, fresh_rows: int | None, config: Config) -> int:
    """An update fills shards of what is fresh, and trains nothing."""
    if fresh_rows is None:
        return plan.build_bytes(n_spaces, n_queries)
    n_shards = max(1, -(-fresh_rows // config.index.rows_per_shard))
    return replace(plan, n_rows=fresh_rows, n_shards=n_shards).filling_bytes(n_spaces, n_queries)


def _refusal(plan: IndexPlan, n_spaces: int, config: Config) -> str:
    try:
        check_budget(plan, n_spaces, config.index)
    except IndexingError as error:
        return error.message
    return ""
