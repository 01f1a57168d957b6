"""The JSON body of a search, checked field by field; unknown fields are refused. `to_request` is what query answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    StringConstraints,
    ValidationError,
    model_validator,
)

from shotlake.query.request import MAX_LIMIT, Exclusion, SearchRequest, Term
from shotlake.records import Space

MAX_PARTS = 32
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Part(BaseModel):
    """What to look for: one of words, the id of a segment that is like it, or a vector of the model's length."""

    model_config = ConfigDict(extra="forbid")
    text: Text | None = None
    segment_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    vector: Annotated[list[FiniteFloat], Field(min_length=1, max_length=8192)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(value is not None for value in (self.text, self.segment_id, self.vector)) != 1:
            raise ValueError("give one of text, segment_id and vector")
        return self

    def to_term(self, weight: float = 1.0) -> Term:
        """The part as a term of a query."""
        if self.text is not None:
            return Term("text", self.text, weight)
        if self.segment_id is not None:
            return Term("segment", self.segment_id, weight)
        return Term("vector", tuple(self.vector or ()), weight)


class WeightedPart(Part):
    """A part that counts more or less than the others."""

    weight: Annotated[float, Field(ge=0, le=1000)] = 1.0


class ExcludedPart(Part):
    """Moments that score above the threshold for this part are left out."""

    threshold: Annotated[float, Field(ge=-1, le=1)]


def _as_parts(query: Any) -> Any:
    return [{"text": query}] if isinstance(query, str) else query


Query = Annotated[
    list[WeightedPart],
    BeforeValidator(_as_parts, json_schema_input_type=str | list[WeightedPart]),
    Field(min_length=1, max_length=MAX_PARTS),
]


Filter = Annotated[
    Annotated[str, Field(max_length=2000)] | dict[str, Any],
    Field(
        description="such as: collection = news and has_audio; or the same as JSON",
        examples=["collection = news", {"field": "collection", "op": "=", "value": "news"}],
    ),
]


class UploadBody(BaseModel):
    """What goes with an uploaded file: a search whose query, if there is one, is joined to the file."""

    model_config = ConfigDict(extra="forbid")
    query: Query | None = None
    negative: Annotated[list[WeightedPart], Field(max_length=MAX_PARTS)] = []
    excluded: Annotated[list[ExcludedPart], Field(alias="not", max_length=MAX_PARTS)] = []
    filter: Filter = ""
    space: Annotated[Literal[Space, "auto"], Field(description="space that ranks the moments")] | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="moments in the answer")] | None = None
    score_threshold: Annotated[float, Field(ge=-1000, le=1000)] | None = None
    per_video: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="moments of one video at the most")] | None = None
    group_by: Annotated[Literal["video"], Field(description="limit counts videos")] | None = None
    group_size: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="moments of a group at the most")] = 1
    dedupe: Annotated[float, Field(gt=0, le=1, description="cosine that makes a moment a repetition")] | None = None
    recall: Annotated[float, Field(gt=0, le=1, description="recall@10 other than the index was tuned to")] | None = None
    time_limit_ms: (
        Annotated[float, Field(gt=0, allow_inf_nan=False, description="the best recall@10 measured within so long")]
        | None
    ) = None
    cursor: Annotated[str, Field(max_length=2000, description="of the page before, with the same query")] = ""
    generation: Annotated[str, Field(max_length=100, description="ask this one, without newer rows")] = ""

    def to_request(self, *terms: Term) -> SearchRequest:
        """The same as a request of the query room, `terms` before its own. Errors: QueryError."""
        return SearchRequest(
            terms=(*terms, *(part.to_term(part.weight) for part in self.query or ())),
            negative=tuple(part.to_term(part.weight) for part in self.negative),
            excluded=tuple(Exclusion(part.to_term(), part.threshold) for part in self.excluded),
            filter=self.filter,
            space=self.space,
            limit=self.limit,
            score_threshold=self.score_threshold,
            per_video=self.per_video,
            group_by=self.group_by,
            group_size=self.group_size,
            dedupe=self.dedupe,
            recall=self.recall,
            time_limit_ms=self.time_limit_ms,
            cursor=self.cursor,
            generation=self.generation,
        )


class SearchBody(UploadBody):
    """A search. The score of a moment is the weighted mean over `query`, less that of each part of `negative`."""

    query: Query


def parse_upload(text: str) -> UploadBody:
    """The `search` parameter of an upload. Errors: RequestValidationError, as of a body."""
    try:
        return UploadBody.model_validate_json(text)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
