"""A run beside erasures: what was erased is left out of whatever it writes, and that is acknowledged in its heartbeat.

An erasure waits for the acknowledgement of every run that was alive when it began. It is given once nothing of the
erased videos is at work any more: at once, or at the end of the wave that they are in.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.flow.ledger import Ledger
from shotlake.flow.run_id import new_run_id
from shotlake.records import UnitOutcome, Video
from shotlake.table.committer import Committer
from shotlake.table.erase import erase_copies
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.tombstones import ErasedVideo, Signs, Tombstones


class ErasureWatch:
    """What a run knows of erasures, and the videos that it is working on."""

    def __init__(self, lake: Lake, ledger: Ledger) -> None:
        self.tombstones = Tombstones.of(lake.root)
        self.has_copies = False  # something of a content that was erased came in under another name
        self._lake, self._ledger = lake, ledger
        self._wave: list[Video] = []

    def look(self) -> Signs:
        """What is erased by now."""
        self.tombstones.look()
        return self.tombstones.signs

    def kept(self, rows: pa.Table) -> pa.Table:
        """The rows that name no erased video."""
        if "uri" not in rows.column_names or not (signs := self.look()):
            return rows
        return rows.filter(pa.array([not signs.is_erased(uri) for uri in rows["uri"].to_pylist()], pa.bool_()))

    def begin_wave(self, wave: list[Video]) -> list[Video]:
        """Those videos of a wave that were not erased since they were listed; the others are booked as skipped."""
        signs = self.look()
        self._wave = [v for v in wave if not (signs.is_erased(v.uri) or signs.has_etag(v.uri, v.etag, v.size_bytes))]
        for _ in range(len(wave) - len(self._wave)):
            self._ledger.skip_erased()
        return self._wave

    def end_wave(self) -> None:
        """Nothing is at work any more."""
        self._wave = []

    def let_go(self, dropped: Sequence[UnitOutcome]) -> None:
        """Say of units that were dropped because of their content that their videos are erased as well.

        Other units of theirs may be in the lake, and nothing there may tell which content they are of.
        """
        signs = self.tombstones.signs
        self._erase([outcome for outcome in dropped if not signs.is_erased(outcome.unit.video.uri)])

    def found_again(self, skipped: Sequence[UnitOutcome]) -> None:
        """The same of objects that are skipped, if a run of before had begun with them and was killed."""
        ids = pa.array([outcome.unit.video.video_id for outcome in skipped], pa.string())
        if not len(ids):
            return
        begun = set(self._lake.read("videos", ["video_id"], pc.field("video_id").isin(ids))["video_id"].to_pylist())
        self._erase([outcome for outcome in skipped if outcome.unit.video.video_id in begun])

    def _erase(self, outcomes: Sequence[UnitOutcome]) -> None:
        found = {
            video.video_id: ErasedVideo(video.video_id, video.uri, video.etag, video.size_bytes, outcome.content_sha256)
            for outcome in outcomes
            for video in [outcome.unit.video]
        }
        if found:
            erase_copies(self._lake, found.values(), new_run_id())
            self.has_copies = bool(self.look())

    def acknowledge(self, committer: Committer, lease: Lease) -> None:
        """Tell who erases how far the run is rid of erased videos, unless some are at work."""
        signs = self.tombstones.signs
        if not any(signs.is_erased(video.uri) for video in self._wave):
            lease.acknowledge(committer.seen_erasure)
