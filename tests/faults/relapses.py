"""Faults that were mended, each put back by a patch: the driver has to find every one of them.

An entry is the name of a schedule in `found.py`, and a patch that the children apply before their command. Patches name
functions of today by module; one that is not there any more is an error, so that an entry cannot rot unseen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any


def put(path: str, value: Any) -> None:
    """Replace `package.module:name` or `package.module:Class.name`, which has to be there."""
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = names.split(".")
    for name in outer:
        owner = getattr(owner, name)
    getattr(owner, last)
    setattr(owner, last, value)


def _outcomes_go_whatever_runs() -> None:
    """Maintenance takes nobody for alive when it removes outcomes."""
    put("shotlake.table.maintenance:live_run_ids", lambda root: set())


def _files_are_not_looked_at() -> None:
    """A generation is published without a look at its files."""
    put("shotlake.index.publish:_check_stored", lambda folder, manifest: None)


RELAPSES: dict[str, Callable[[], None]] = {
    "maintain removes outcomes of a commit that comes": _outcomes_go_whatever_runs,
    "maintain removes a generation between the look and the pointer": _files_are_not_looked_at,
}


def apply(names: Iterable[str]) -> None:
    """Put these faults back into this process."""
    for name in names:
        RELAPSES[name]()
