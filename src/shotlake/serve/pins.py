"""Snapshots of older rows, which a cursor or a generation's name asked for: opened once, and kept by that.

Whoever asks first opens one, the others wait for it; meanwhile everything else goes on, for nobody holds the lock while
anything is opened.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future

from shotlake.errors import ShotlakeError, TooSlow
from shotlake.query.budget import Budget
from shotlake.query.cursor import Pin
from shotlake.query.search import LakeSearch

KEPT_PINS = 4  # snapshots; those of one generation share its vectors

_Wanted = tuple[Pin, int]  # the rows, and the version of `retired` that says what is not shown of them


class PinnedSnapshots:
    """Those that were asked for last. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshots: OrderedDict[_Wanted, Future[LakeSearch]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._snapshots)

    def at_hand(self, search: LakeSearch, pin: Pin) -> LakeSearch | None:
        """The snapshot if it is open; never waits."""
        found = self._snapshots.get((pin, search.pin.retired_version))
        return found.result() if found and found.done() and not found.exception() else None

    def get(self, search: LakeSearch, pin: Pin, budget: Budget) -> LakeSearch:
        """The snapshot of a pin, without what was retired until `search`, the one in use.

        Errors: those of `LakeSearch.at`, TooSlow if somebody else opens it and there is no time to wait for that.
        """
        wanted = pin, search.pin.retired_version
        with self._lock:
            found = self._snapshots.get(wanted)
            is_ours = found is None
            if found is None:
                alike = [one for (known, _), one in self._snapshots.items() if known.generation == pin.generation]
                found = self._snapshots[wanted] = Future()
            self._snapshots.move_to_end(wanted)
            while len(self._snapshots) > KEPT_PINS:
                self._snapshots.popitem(last=False)
        if is_ours:
            self._open(wanted, found, alike, search)
        return _waited_for(found, budget)

    def clear(self) -> None:
        """Forget all of them; whoever waits for one still gets it."""
        with self._lock:
            self._snapshots.clear()

    def _open(
        self, wanted: _Wanted, place: Future[LakeSearch], alike: list[Future[LakeSearch]], search: LakeSearch
    ) -> None:
        """Into its place, on the vectors of another snapshot of its generation if there is one, open or soon."""
        try:
            near = next((one.result() for one in alike if not one.exception()), search)
            place.set_result(near.at(wanted[0]))
        except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            place.set_exception(error)
            with self._lock:  # who asks next tries again
                if self._snapshots.get(wanted) is place:
                    del self._snapshots[wanted]


def _waited_for(place: Future[LakeSearch], budget: Budget) -> LakeSearch:
    try:
        error = place.exception(timeout=min(budget.left_s, threading.TIMEOUT_MAX))
    except TimeoutError:
        raise TooSlow("an older generation is still being opened; try again in a moment") from None
    if isinstance(error, ShotlakeError):
        raise type(error)(error.message)  # each who waited has one of their own
    if error:
        raise error
    return place.result()
