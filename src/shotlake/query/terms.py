"""From the terms of a request to one vector a space. Scores are linear in the query's vector, so that the weighted sum
of the terms' vectors has the weighted sum of their scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from shotlake.embed.encoder import Encoder
from shotlake.errors import QueryError, ShardsLost
from shotlake.index.depth import Depth
from shotlake.index.manifest import QueryKind
from shotlake.query.live import LiveRows, Vector
from shotlake.query.request import SearchRequest, Term
from shotlake.records import Space

TermVectors = dict[Space, Vector]  # [D] in the spaces that the term has a vector in


@dataclass(frozen=True, slots=True)
class JoinedQuery:
    """A request with its vectors: one [D] for each space that all of its terms have.

    It ranks by the scores in `ranked_by`, or if they are several by the ranks in them; `space` is the first.
    `excluded`: the vectors of a term that is not wanted, and the score above which it is not.
    """

    request: SearchRequest
    vectors: dict[Space, Vector]
    excluded: tuple[tuple[TermVectors, float], ...]
    ranked_by: tuple[Space, ...]
    kind: QueryKind
    own_segments: frozenset[str]

    @property
    def space(self) -> Space:
        """In which exclusions and likeness are measured, and of which the recall is told."""
        return self.ranked_by[0]

    @property
    def depth(self) -> Depth:
        """How far the index looks for it."""
        return Depth(self.kind, self.request.recall, self.request.time_limit_ms)


def resolve_terms(terms: Sequence[Term], encoder: Encoder, rows: LiveRows, gone: pa.Array) -> list[TermVectors]:
    """The vectors of every term; texts are embedded together. `gone`: videos of which no segment may be asked for.

    Errors: QueryError for unknown words or segments.
    """
    texts = [str(term.value) for term in terms if term.kind == "text"]
    embedded = encoder.embed_text(texts) if texts else {}
    by_text = iter(
        {space: np.ascontiguousarray(vectors[number], np.float32) for space, vectors in embedded.items()}
        for number in range(len(texts))
    )
    resolved: list[TermVectors] = []
    for term in terms:
        if term.vectors is not None:
            resolved.append(dict(term.vectors))
        elif term.kind == "text":
            resolved.append(next(by_text))
        elif term.kind == "segment":
            resolved.append(_segment_vectors(str(term.value), rows, gone))
        else:
            resolved.append(_given_vector(np.array(term.value, dtype=np.float64), rows))
    return resolved


def join_terms(
    request: SearchRequest, terms: Sequence[TermVectors], spaces: Sequence[Space], indexed: Sequence[Space]
) -> JoinedQuery:
    """One query of the vectors of terms, negative and excluded, ranked by `spaces`, or by all that it can if there are
    none. Errors: QueryError if a term has no vector in one of them, or the index has not.
    """
    common = [name for name in indexed if all(name in vectors for vectors in terms)]
    ranked_by = tuple(spaces or common)
    missing = [space for space in ranked_by if space not in common]
    if missing or not ranked_by:
        asked = f"the space {missing[0]!r}; it can in {', '.join(common) or 'none'}" if missing else "any space"
        raise QueryError(
            f"this query cannot be answered in {asked}: the index has {', '.join(indexed)}, and every term needs a "
            "vector there (index.spaces)"
        )
    scored = len(request.weights)
    weights = np.array(request.weights, dtype=np.float32)
    vectors = {name: weights @ np.stack([term[name] for term in terms[:scored]]) for name in common}
    return JoinedQuery(
        request=request,
        vectors=vectors,
        excluded=tuple((vectors, e.threshold) for vectors, e in zip(terms[scored:], request.excluded)),
        ranked_by=ranked_by,
        kind="segment" if all(term.kind in ("segment", "file") for term in request.terms) else "text",
        own_segments=frozenset(str(term.value) for term in request.terms if term.kind == "segment"),
    )


def _segment_vectors(segment_id: str, rows: LiveRows, gone: pa.Array) -> TermVectors:
    found = rows.find("segment_id", [segment_id])
    if len(found) and len(gone) and pc.is_in(rows.columns(found[:1], ["video_id"])["video_id"], gone)[0].as_py():
        found = found[:0]
    if not len(found) and rows.searcher.is_partial:
        raise ShardsLost(f"the segment {segment_id!r} may stand in shards that are being loaded again; try again")
    if not len(found):
        raise QueryError(f"there is no segment {segment_id!r} in this index; take one from segment_ids of a hit")
    vectors = {space: rows.vectors(space, found[:1])[0] for space in rows.searcher.spaces}
    return {space: vector for space, vector in vectors.items() if vector.any()}


def _given_vector(vector: NDArray[np.float64], rows: LiveRows) -> TermVectors:
    dim = rows.manifest.plan.dim
    if len(vector) != dim or not vector.any():
        raise QueryError(f"a query vector of {len(vector)} numbers is given; {dim} are needed, not all of them 0")
    vector = vector / np.abs(vector).max()  # squares of very large or small numbers are none
    return dict.fromkeys(rows.searcher.spaces, (vector / np.linalg.norm(vector)).astype(np.float32))
