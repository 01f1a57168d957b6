"""Faults that were mended, each put back by a patch: the driver has to find every one of them.

An entry is a patch, which the children apply before their command, and where to look for what it does. Patches name
functions of today by module; one that is not there any more is an error, so that an entry cannot rot unseen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Relapse:
    """`patch` puts the fault back. `first` and `second` find it in `mode`, as findings of these `kinds`.

    `known`: the name of a schedule that is tried before others. `twist`: the clocks or hosts that it takes.
    """

    patch: Callable[[], None]
    scene: str
    first: str
    second: str
    mode: str
    kinds: tuple[str, ...]
    known: str = ""
    twist: str = ""


def put(path: str, value: Any) -> None:
    """Replace `package.module:name` or `package.module:Class.name`, which has to be there."""
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = names.split(".")
    for name in outer:
        owner = getattr(owner, name)
    getattr(owner, last)
    setattr(owner, last, value)


def _commits_are_not_known() -> None:
    """What was committed under a number is not known any more: it is committed again."""
    put("shotlake.table.lake:_sequence", lambda snapshot, app_id: -1)


def _outcomes_go_whatever_runs() -> None:
    """Maintenance takes nobody for alive."""
    put("shotlake.table.maintenance:live_run_ids", lambda root: set())


def _files_are_not_looked_at() -> None:
    """A published generation is not looked at again before its pointer is written."""
    put("shotlake.index.publish:_check_stored", lambda folder, manifest: None)


RELAPSES: dict[str, Relapse] = {
    "a commit is made twice": Relapse(
        _commits_are_not_known, "half", "backfill", "backfill", "kill-between", ("doubled",)
    ),
    "maintenance sees no live run": Relapse(
        _outcomes_go_whatever_runs, "half", "backfill", "maintain", "between", ("doubled", "missing", "balance")
    ),
    "publishing does not look at the files": Relapse(
        _files_are_not_looked_at, "full", "publish", "maintain", "between", ("generation",)
    ),
}


def apply(names: Iterable[str]) -> None:
    """Put these faults back into this process."""
    for name in names:
        RELAPSES[name].patch()
