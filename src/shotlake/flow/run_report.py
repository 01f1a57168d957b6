"""What a run says at its end: the object of `backfill --json`, and the exit status that follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from shotlake.config import LimitsConfig
from shotlake.flow.ledger import Ledger
from shotlake.records import Usage
from shotlake.report.cost import Cost

RunStatus = Literal["complete", "partial", "failed", "interrupted"]
STAGES = ("list", "decode", "embed", "write", "index")


@dataclass(frozen=True, slots=True)
class RunReport:
    """A finished run. `signal` is the number of the signal that ended it, 0 if none did."""

    run_id: str
    status: RunStatus
    ledger: Ledger
    wall_s: float
    cores: int
    cost: Cost
    stages: Mapping[str, Usage]
    actors: Mapping[str, int]
    generation: str = ""
    signal: int = 0
    message: str = ""

    @property
    def video_hours(self) -> float:
        """Hours of source that got their vectors in this run."""
        return self.ledger.covered_us / 3.6e9

    def exit_status(self, limits: LimitsConfig) -> int:
        """0 done, 1 failed, 3 done with too many newly failed videos, 130/143 interrupted after a clean commit."""
        if self.signal:
            return 128 + self.signal
        if self.status == "failed" or not self.ledger.balanced:
            return 1
        listed = self.ledger.videos["listed"]
        return 3 if self.ledger.failed_new > limits.tolerated_failure_ratio * listed else 0

    def to_json(self) -> dict[str, Any]:
        """The object of `backfill --json`."""
        core_hours = self.wall_s * self.cores / 3600
        return {
            "run_id": self.run_id,
            "status": self.status,
            **self.ledger.to_json(),
            "failures": {code: n for code, n in sorted(self.ledger.codes.items()) if n},
            "actors": dict(self.actors),
            "decoded_on": {device: self.ledger.devices[device] for device in ("cpu", "nvdec")},
            "video_hours": self.video_hours,
            "wall_s": self.wall_s,
            "video_hours_per_core_hour": self.video_hours / core_hours if core_hours else 0.0,
            "cost": self.cost.to_json(),
            "index": {"generation": self.generation},
            "stages": {stage: asdict(self.stages.get(stage, Usage())) for stage in STAGES},
        }
