"""Faults that were mended, each put back by a patch: the driver has to find every one of them.

An entry is the fault's name, the patch that is applied in the children, and the schedule's scene, commands and mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Relapse:
    """`patch` is called in the child before its command. The driver finds it with `first` and `second` in `mode`."""

    patch: Callable[[], None]
    scene: str
    first: str
    second: str
    mode: str


RELAPSES: dict[str, Relapse] = {}


def apply(names: Iterable[str]) -> None:
    """Put these faults back into this process."""
    for name in names:
        RELAPSES[name].patch()
