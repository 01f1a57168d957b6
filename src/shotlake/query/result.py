"""An answer: the hits, and what they were found with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from shotlake.index.manifest import QueryKind
from shotlake.query.budget import Spent
from shotlake.query.match import Match
from shotlake.records import Hit


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits, and what they were found with. `cursor` goes on behind them; "" if there is nothing more.

    `match`: whether the best one is what was asked for, None where scores do not tell. `partial`: shards were left
    out, since nobody held them at that moment, or the budget of the query was `spent`; such an answer has no further
    page. `coverage`: the share of the rows that was looked at.
    """

    hits: tuple[Hit, ...]
    generation: str
    embed_key: str
    table_version: int
    unindexed_rows: int
    recall_at_10: dict[QueryKind, float]
    took_ms: dict[str, float]
    partial: bool = False
    coverage: float = 1.0
    spent: Spent | Literal[""] = ""
    cursor: str = ""
    match: Match | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that `search --json` and `POST /v1/search` give."""
        return {
            "index": {
                "generation": self.generation,
                "embed_key": self.embed_key,
                "table_version": self.table_version,
                "unindexed_rows": self.unindexed_rows,
                "recall_at_10": self.recall_at_10,
            },
            "took_ms": self.took_ms,
            "partial": self.partial,
            "coverage": self.coverage,
            "spent": self.spent or None,
            "match": self.match.to_json() if self.match else None,
            "cursor": self.cursor or None,
            "hits": [hit.to_json() for hit in self.hits],
        }
