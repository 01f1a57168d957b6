"""What one query may use, asked inside its loops: time and candidates. At its end the answer is partial."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

MAX_CANDIDATES = 100_000

Spent = Literal["time", "candidates"]


@dataclass(slots=True)
class Budget:
    """Of one answer. `deadline` on the clock of `time.monotonic`; `candidates`: segments that a round may look at.

    `spent` says what was used up first, "" if nothing was; a filter had no time for `unseen` rows.
    """

    deadline: float = math.inf
    candidates: int = MAX_CANDIDATES
    spent: Spent | Literal[""] = ""
    unseen: int = 0

    @classmethod
    def lasting(cls, seconds: float) -> Budget:
        """From now on."""
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """Seconds, 0 if there are none."""
        return max(0.0, self.deadline - time.monotonic())

    def allows(self, candidates: int = 0) -> bool:
        """Whether a round may look at so many, now. A no is kept in `spent`."""
        if candidates > self.candidates:
            self.spent = self.spent or "candidates"
        elif not self.left_s:
            self.spent = self.spent or "time"
        else:
            return True
        return False

    def leave_out(self, n_rows: int) -> None:
        """Rows that there was no time for."""
        if n_rows:
            self.unseen += n_rows
            self.spent = self.spent or "time"
