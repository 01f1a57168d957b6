"""A signal ends a run in one way, wherever it falls: not into a commit, and not into oblivion."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Any

import pytest

from shotlake.flow import pools
from shotlake.flow.interrupt import Interrupted, Interruptible


def send() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_is_raised_at_once_or_behind_the_shield() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(Interrupted) as raised, Interruptible() as stop:
        with stop.shield():
            send()
            done.append("the commit")
        done.append("not reached")
    assert (raised.value.signum, done) == (signal.SIGTERM, ["the commit"])
    with pytest.raises(Interrupted), Interruptible():
        send()
        done.append("not reached")
    assert done == ["the commit"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_somebody_swallowed_comes_again() -> None:
    with pytest.raises(Interrupted), Interruptible() as stop:
        with suppress(Interrupted):  # as a callback out of C does, which cannot raise
            send()
        with stop.shield():
            pass


def test_a_second_signal_does_not_cut_the_clean_end() -> None:
    ended = []
    with pytest.raises(Interrupted), Interruptible():
        try:
            send()
        finally:
            send()
            ended.append(True)
    assert ended


def test_a_signal_that_falls_into_ray_is_raised_as_itself() -> None:
    def dataset() -> Any:
        try:
            raise Interrupted(signal.SIGINT)
        except Interrupted as error:
            raise SystemError("returned a result with an exception set") from error

    with pytest.raises(Interrupted) as raised:
        next(pools._rows(dataset))
    assert raised.value.signum == signal.SIGINT
