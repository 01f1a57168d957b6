"""Faults that were mended, each put back by a patch: the driver has to find every one of them.

An entry is the name of a schedule in `found.py`, and a patch that the children apply before their command. Patches name
functions of today by module; one that is not there any more is an error, so that an entry cannot rot unseen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from shotlake import storage


def put(path: str, value: Any) -> Any:
    """Replace `package.module:name` or `package.module:Class.name`, which has to be there; gives what was there."""
    module, _, names = path.partition(":")
    owner: Any = importlib.import_module(module)
    *outer, last = names.split(".")
    for name in outer:
        owner = getattr(owner, name)
    before = getattr(owner, last)
    setattr(owner, last, value)
    return before


def _files_of_live_runs_go() -> None:
    """An erasure removes what no version names, whoever wrote it, and the committer does not look again."""
    from shotlake.table.rewrite import data_files

    def unneeded(lake: Any, table: str, names: list[str]) -> list[str]:
        current = {file.path for file in data_files(lake, table)}
        return [name for name in names if name not in current]

    put("shotlake.table.erase:unneeded", unneeded)
    put("shotlake.table.committer:is_there", lambda root, report: True)
    put("shotlake.table.committer:Committer._is_of_erased", lambda self, outcome: False)


def _outcomes_go_unasked() -> None:
    """Maintenance removes copies of outcomes of runs that do not live, without a look at the log."""
    from shotlake.table.lease import live_run_ids

    def remove(lake: Any) -> tuple[int, int]:
        folder, live = storage.join(lake.root, "outcomes"), live_run_ids(lake.root)
        gone = [name for name in storage.names(folder) if name.split("/")[0] not in live]
        for name in gone:
            storage.delete(storage.join(folder, name))
        return 0, len(gone)

    put("shotlake.table.maintenance:remove_outcomes", remove)


def _writers_know_of_no_erasure() -> None:
    """Nobody is waited for, a run commits what was erased meanwhile, and what waits for a commit is not searched."""
    put("shotlake.table.erase:Writers.left", lambda self: [])
    put("shotlake.flow.erasure:search_traces", lambda *words: (0, []))
    put("shotlake.table.committer:Committer._is_of_erased", lambda self, outcome: False)


def _names_are_not_known() -> None:
    """What was erased is known by the id of its content only."""
    put("shotlake.table.tombstones:Signs.is_erased", lambda self, uri: False)
    put("shotlake.table.tombstones:Signs.is_erased_content", lambda self, digest: False)


def _a_killed_erasure_is_forgotten() -> None:
    """Only the process that recorded an erasure knows that it is not done."""
    from shotlake.table.tombstones import Tombstones

    real, mine = Tombstones.pending, set[str]()
    put("shotlake.table.tombstones:Tombstones.pending", property(lambda self: real.fget(self) if mine else []))
    add = Tombstones.add
    put("shotlake.table.tombstones:Tombstones.add", lambda self, *words: (mine.add(words[0]), add(self, *words))[1])


def _a_build_fails_where_its_rows_go() -> None:
    put("shotlake.flow.build_index:_is_outdated", lambda source, error: False)


def _builders_hold_nothing() -> None:
    """No lease on a space, no look at erasures or files around the pointer, drafts are removed whoever makes them."""

    @contextmanager
    def indexing(lake: Any, key: str, config: Any) -> Iterator[Any]:
        yield SimpleNamespace(check=lambda: None)

    for module in ("build_index", "forget", "generations"):
        put(f"shotlake.flow.{module}:indexing", indexing)
    put("shotlake.flow.index_lease:PublishCheck.__call__", lambda self, manifest: None)
    put("shotlake.flow.build_index:_Build._forget", lambda self, is_current_too: "")
    put("shotlake.table.erase:Writers.left", lambda self: [])
    put("shotlake.flow.upkeep:tidy_indexes", lambda lake, config: (0, {}))


def _drafts_outlive_an_erasure() -> None:
    """What a build is about to publish is taken for young, as by a clock that is ahead."""
    _builders_hold_nothing()
    put("shotlake.index.forget:forget", lambda *words: [])
    put("shotlake.flow.erasure:index_traces", lambda lake, ids: [])


def _pruned_between_look_and_pointer() -> None:
    """The files are looked at long before the pointer is written, and drafts are removed whoever makes them."""
    _builders_hold_nothing()
    put("shotlake.index.publish:check_stored", lambda *words: None)

    def prune_all(lake: Any, config: Any) -> tuple[int, dict[str, str]]:
        from shotlake.flow.index_source import index_root
        from shotlake.index.forget import stored_keys
        from shotlake.index.prune import prune

        root = index_root(lake)
        return sum(len(prune(root, key, 1, timedelta(0))) for key in stored_keys(root)), {}

    put("shotlake.flow.upkeep:tidy_indexes", prune_all)


def _retired_is_read_first() -> None:
    """Maintenance deletes by what `retired` said before it listed the files."""
    from shotlake.table import maintenance

    def delete_retired(lake: Any) -> int:
        choose = maintenance._RetiredRows(lake)
        return sum(maintenance.delete_rows(lake, table, lambda: choose) for table in ("segments", "pooled"))

    put("shotlake.table.maintenance:delete_retired", delete_retired)


def _failures_end_a_video() -> None:
    """The old rows are retired even if the new content could not be read."""
    from shotlake.flow.ledger import Ledger

    real = Ledger.close_unit

    def close_unit(self: Any, outcome: Any) -> Any:
        ended = real(self, outcome)
        if ended:
            self._end(outcome.unit.video.video_id)
        return ended

    put("shotlake.flow.ledger:Ledger.close_unit", close_unit)


def _the_dead_are_not_ended() -> None:
    put("shotlake.table.lease:Holder.expire", lambda self, run_id: (f"lease/{self.key}", self.epoch))


def _units_lag_behind() -> None:
    put("shotlake.flow.index_source:complete_commits", lambda lake: 0)


def _conflicts_end_a_command() -> None:
    put("shotlake.table.maintenance:REWRITE_TRIES", 1)


def _files_go_at_once() -> None:
    """Maintenance keeps nothing for those who have not committed yet."""
    from shotlake.table import maintenance

    real = maintenance.vacuum
    put("shotlake.table.maintenance:vacuum", lambda lake, table, retention_h: real(lake, table, 0))
    put("shotlake.table.maintenance:live_run_ids", lambda root: {"nobody"})
    put("shotlake.table.committer:is_there", lambda root, report: True)


def _logs_lose_their_history() -> None:
    """An erasure switches the retention of a log off while it cleans up."""
    from shotlake.table import erase
    from shotlake.table.snapshots import opened

    real = erase._scrub_log

    def scrub(lake: Any, table: str, sought: Any) -> None:
        name = "delta.logRetentionDuration"
        kept = opened(lake.uri(table)).metadata().configuration.get(name)  # 0 where another one died
        opened(lake.uri(table)).alter.set_table_properties({name: "interval 0 seconds"})
        real(lake, table, sought)
        opened(lake.uri(table)).alter.set_table_properties({name: kept or "interval 30 days"})

    put("shotlake.table.erase:_scrub_log", scrub)
    put("shotlake.table.lake:keeps_no_log", lambda properties: False)


def _names_of_before_are_not_looked_for() -> None:
    put("shotlake.table.names:_linked", lambda *_: set())
    put("shotlake.table.erase:copies", lambda *_: {})  # they have the same content


def _a_move_knows_no_erasure() -> None:
    put("shotlake.flow.upkeep:_half_erased", lambda *_: {})
    put("shotlake.table.erase:copies", lambda *_: {})


def _a_table_is_opened_once() -> None:
    put("shotlake.table.snapshots:LOOKS", 1)


def _a_reader_looks_once() -> None:
    put("shotlake.table.lake:again_if_gone", lambda read: read())


def _files_are_read_once() -> None:
    from shotlake.table.rewrite import read_rows

    put("shotlake.table.maintenance:_rows_now", read_rows)


def _an_update_needs_its_queries() -> None:
    put("shotlake.flow.build_index:NoQueries", ZeroDivisionError)


RELAPSES: dict[str, Callable[[], None]] = {
    "erase removes a file that waits for its commit": _files_of_live_runs_go,
    "erase stops a run whose file it removed": _files_of_live_runs_go,
    "maintain removes outcomes of a commit that comes": _outcomes_go_unasked,
    "units of an erased video are written after the erasure": _writers_know_of_no_erasure,
    "the new version of an erased object comes back": _names_are_not_known,
    "an erasure that died says that there is nothing to erase": _a_killed_erasure_is_forgotten,
    "an index build fails beside an erasure": _a_build_fails_where_its_rows_go,
    "a build is published with erased rows under a clock that is ahead": _drafts_outlive_an_erasure,
    "erase removes a generation between the look and the pointer": _pruned_between_look_and_pointer,
    "maintain removes a generation between the look and the pointer": _pruned_between_look_and_pointer,
    "maintain deletes content that came back": _retired_is_read_first,
    "a new version that cannot be read hides the old rows": _failures_end_a_video,
    "a dead holder elsewhere blocks a root above its own": _the_dead_are_not_ended,
    "an update beside a run is refused": _units_lag_behind,
    "maintain fails beside a run": _conflicts_end_a_command,
    "maintain removes a file of an uncommitted append": _files_go_at_once,
    "an erasure that died leaves a log without history": _logs_lose_their_history,
    "an erasure leaves what a video was called before it moved": _names_of_before_are_not_looked_for,
    "an archive moves while a video of it is erased": _a_move_knows_no_erasure,
    "a checkpoint goes while a table is opened": _a_table_is_opened_once,
    "an erasure removes a file under a reader": _a_reader_looks_once,
    "an erasure removes a file that a run is about to write anew": _files_are_read_once,
    "the rows that an index was measured with have moved": _an_update_needs_its_queries,
}


def apply(names: Iterable[str]) -> None:
    """Put these faults back into this process."""
    for name in names:
        RELAPSES[name]()
