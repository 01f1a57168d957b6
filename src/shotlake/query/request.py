"""What can be asked: terms with weights, what to push away and to leave out, where, and how many. Checked when made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shotlake.errors import QueryError
from shotlake.records import Space, stable_id

MAX_LIMIT = 1_000


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: words, the id of a segment that is like it, a vector, or a file. Weights are not negative.

    `vectors`: of a file, or of whatever was embedded elsewhere, [D] a space; its value is then a name for them.
    """

    kind: Literal["text", "segment", "vector", "file"]
    value: str | tuple[float, ...]
    weight: float = 1.0
    vectors: Mapping[Space, NDArray[np.float32]] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise QueryError(f"the weight of {self.value!r} is {self.weight}; 0 or more is allowed")
        if self.kind == "text" and not str(self.value).strip():
            raise QueryError("the query is empty; write what should be seen or heard")
        if isinstance(self.value, tuple) and not (self.value and all(map(math.isfinite, self.value))):
            raise QueryError("a query vector is empty or not finite; give as many numbers as the model's vectors have")


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Moments whose own score for `term` is above `threshold` are left out."""

    term: Term
    threshold: float


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A whole query. The score of a segment is the weighted mean of its terms' scores, less those of `negative`.

    `limit` and `space`: of the configuration if None. `filter`: the language of `filters`, or the same as JSON.
    `per_video`: moments of one video at the most. `score_threshold`: moments below it are left out. `dedupe`: so are
    those whose best segment has this cosine with that of a better one, in any video. `recall`: a lower bound other than
    the target. `time_limit_ms`: the best recall that was measured within it, where `recall` takes longer or is not
    given. `group_by`: then `limit` counts videos, and the `group_size` best moments of each stand together. `cursor`:
    of an answer to the same query, which goes on behind it. `generation`: the rows of this one, and none that is newer.
    """

    terms: tuple[Term, ...]
    negative: tuple[Term, ...] = ()
    excluded: tuple[Exclusion, ...] = ()
    limit: int | None = None
    space: Space | Literal["auto"] | None = None
    filter: str | Mapping[str, Any] = ""
    per_video: int | None = None
    score_threshold: float | None = None
    dedupe: float | None = None
    recall: float | None = None
    time_limit_ms: float | None = None
    group_by: Literal["video"] | None = None
    group_size: int = 1
    cursor: str = ""
    generation: str = ""
    weights: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        total = sum(term.weight for term in self.terms)
        if not total > 0:
            raise QueryError("the query has no term with a weight above 0; give a text, a segment id or a vector")
        for name, value in (("limit", self.limit), ("per_video", self.per_video), ("group_size", self.group_size)):
            if value is not None and not 1 <= value <= MAX_LIMIT:
                raise QueryError(f"{name} is {value}; 1 to {MAX_LIMIT} is allowed")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise QueryError(f"recall is {self.recall}; above 0, at most 1 is allowed")
        if self.time_limit_ms is not None and not (math.isfinite(self.time_limit_ms) and self.time_limit_ms > 0):
            raise QueryError(f"time_limit_ms is {self.time_limit_ms}; a number of milliseconds above 0 is allowed")
        if self.dedupe is not None and not 0 < self.dedupe <= 1:
            raise QueryError(f"dedupe is {self.dedupe}; a cosine above 0, at most 1 is allowed")
        if self.group_size > 1 and not self.group_by:
            raise QueryError(f"group_size is {self.group_size} without group_by; set group_by to video")
        self.check_hits(self.limit or 1)
        if self.group_by and self.per_video is not None:
            raise QueryError("group_by and per_video are both given; group_size says how many moments a video has")
        weights = [term.weight / total for term in self.terms] + [-term.weight for term in self.negative]
        object.__setattr__(self, "weights", tuple(weights))

    def check_hits(self, limit: int) -> None:
        """Errors: QueryError if so many videos would have more hits than an answer may hold."""
        if (n_hits := limit * self.group_size) > MAX_LIMIT:
            raise QueryError(
                f"limit {limit} times group_size {self.group_size} is {n_hits} hits; {MAX_LIMIT} are allowed"
            )

    def name(self, ranking: str) -> str:
        """An id of the query, the same on every page of it; `ranking` says what else decides the order."""
        return stable_id(repr(replace(self, cursor="", limit=None)), ranking)
