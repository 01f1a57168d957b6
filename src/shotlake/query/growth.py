"""From the best rows of a query to its moments: their videos are laid out in time, and each row grows there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from shotlake.query.live import LiveRows, Rows, Vector
from shotlake.query.moments import Moment, Segment, Timeline
from shotlake.query.terms import JoinedQuery, TermVectors

AT_ONCE = 32  # rows that grow together, of so many
LOOK_AHEAD = 1_024
_DESCRIBED = ["segment_id", "video_id", "uri", "start_us", "end_us"]
_PLACED = ["segment_id", "video_id", "start_us", "end_us"]


class Grower:
    """The moments of one query. Where it ranks by several spaces, they grow by the scores in the first of them.

    `allowed`: the rows that a filter lets through, ascending; no moment holds others, nor what the query excludes.
    """

    def __init__(self, rows: LiveRows, query: JoinedQuery, allowed: Rows | None, drop: float) -> None:
        self._rows, self._query, self._allowed, self._drop = rows, query, allowed, drop
        self._climbs = len(query.ranked_by) == 1
        self._lines: dict[str, Timeline] = {}
        self._held = set[int]()  # rows of moments

    def moments(self, scores: Vector, rows: Rows) -> Iterator[list[Moment]]:
        """The moments of rows [K], best first, in lists of a few; rows of earlier moments give none."""
        start = 0
        while start < len(rows):
            ahead = slice(start, start + LOOK_AHEAD)
            free = start + np.flatnonzero([row not in self._held for row in rows[ahead].tolist()])[:AT_ONCE]
            start = int(free[-1]) + 1 if len(free) == AT_ONCE else start + LOOK_AHEAD
            if len(free):
                grown = self._grown(scores[free], rows[free])
                self._held.update(row for moment in grown for row in moment.rows.tolist())
                yield grown

    def _grown(self, scores: Vector, rows: Rows) -> list[Moment]:
        described = self._rows.columns(rows, _DESCRIBED).to_pylist()
        self._lay_out({each["video_id"] for each in described})
        self._look_around({(each["video_id"], row) for each, row in zip(described, rows.tolist())})
        grown: list[Moment] = []
        missed: list[int] = []
        for row, score, each in zip(rows.tolist(), scores.tolist(), described):
            line = self._lines[each["video_id"]]
            for stretch in line.grow(row, self._drop, self._climbs):
                best_row = int(line.rows[stretch.best])
                if best_row != row:
                    missed.append(len(grown))
                best = Segment(best_row, score if best_row == row else line.score_of(stretch.best), **each)
                within = slice(stretch.first, stretch.last + 1)
                start_us, end_us = int(line.starts_us[stretch.first]), int(line.ends_us[within].max())
                grown.append(Moment(best, start_us, end_us, line.rows[within]))
        self._describe(grown, missed)
        return sorted(grown, key=lambda moment: (-moment.best.score, moment.best.uri, moment.best.start_us))

    def _describe(self, grown: list[Moment], missed: list[int]) -> None:
        """Say of the moments at these places what their best segments are."""
        if missed:
            best = np.array([grown[number].best.row for number in missed], np.int64)
            for number, each in zip(missed, self._rows.columns(best, _DESCRIBED).to_pylist()):
                segment = Segment(grown[number].best.row, grown[number].best.score, **each)
                grown[number] = replace(grown[number], best=segment)

    def _lay_out(self, videos: set[str]) -> None:
        """Timelines of those of the videos that have none yet."""
        new = sorted(videos - self._lines.keys())
        if not new:
            return
        rows = self._rows.of_videos(new)
        if self._allowed is not None:
            rows = np.intersect1d(rows, self._allowed, assume_unique=True)
        own = self._query.own_segments
        names = _PLACED if own else _PLACED[1:]
        table = self._rows.columns(rows, names)
        number = np.asarray(pc.index_in(table["video_id"], value_set=pa.array(new, pa.string())))
        free = np.ones(len(rows), np.bool_)
        if own:
            free = np.array([segment_id not in own for segment_id in table["segment_id"].to_pylist()], np.bool_)
        starts_us, ends_us = np.asarray(table["start_us"]), np.asarray(table["end_us"])
        order = np.argsort(number, kind="stable")
        parts = np.split(order, np.searchsorted(number[order], np.arange(1, len(new))))
        for video, part in zip(new, parts):
            mine = part[free[part]]
            self._lines[video] = Timeline(rows[mine], starts_us[mine], ends_us[mine], self._score)

    def _look_around(self, places: set[tuple[str, int]]) -> None:
        """Score what is next to (video, row) pairs, in one go."""
        blocks = {(video, block.start): block for video, row in places if (block := self._lines[video].block_of(row))}
        parts = [self._lines[video].rows[block] for (video, _), block in blocks.items()]
        if parts:
            scores = np.split(self._score(np.concatenate(parts)), np.cumsum([len(part) for part in parts])[:-1])
            for (video, _), block, found in zip(blocks, blocks.values(), scores):
                self._lines[video].put(block, found)

    def _score(self, rows: Rows) -> Vector:
        query = self._query
        scores = self._scores_in(query.vectors, rows)
        for vectors, ceiling in query.excluded:
            scores[self._scores_in(vectors, rows) > ceiling] = -np.inf
        return scores

    def _scores_in(self, vectors: TermVectors, rows: Rows) -> Vector:
        space = self._query.space
        stored = self._rows.vectors(space, rows)
        return np.where(stored.any(axis=1), stored @ vectors[space], np.float32(-np.inf))
