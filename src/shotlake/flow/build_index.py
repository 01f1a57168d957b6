"""Table version -> published generation: live rows stream into shards, text queries tune them, a pointer is put."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from shotlake.config import Config
from shotlake.errors import CorruptGeneration, IndexingError, LakeFormat, LeaseHeld, NoQueries, NotFound, StoreError
from shotlake.flow.fill_shards import filler
from shotlake.flow.forget import forget_space
from shotlake.flow.generations import remake
from shotlake.flow.index_lease import PublishCheck, indexing
from shotlake.flow.index_plan import PlannedIndex, priced_build, priced_update
from shotlake.flow.index_source import (
    IndexSource,
    current_generation,
    erasure_mark,
    index_root,
    newer_units,
    text_queries,
)
from shotlake.flow.space import VectorSpace, open_space
from shotlake.flow.train_epochs import trainer
from shotlake.index.advice import Action, advise, is_compact
from shotlake.index.build import TableChange, build_generation, update_generation
from shotlake.index.fill import Workers
from shotlake.index.forget import forget
from shotlake.index.gate import shortfalls
from shotlake.index.manifest import Manifest
from shotlake.index.publish import check_stored, publish
from shotlake.index.rewrite import as_it_is, compacted
from shotlake.table.lake import Lake
from shotlake.table.lease import Lease
from shotlake.table.readers import has_live_segments

log = logging.getLogger(__name__)

BEGINNINGS = 5  # of a build beside which videos are erased

Tell = Callable[[PlannedIndex], None]


def build_index(
    config: Config,
    space: VectorSpace | None = None,
    action: Literal["build", "update", "compact"] = "build",
    is_published: bool = True,
    tell: Tell | None = None,
) -> Manifest:
    """Bring the index of the configured space up to the newest table version and publish it.

    `action`: build trains a new epoch, whatever the current generation looks like; update does what `shotlake index
    status` advises, which may be several steps: nothing, fresh shards, fewer shards, other targets, or building;
    compact leaves fewer shards without retired rows. `is_published`: else a built generation is stored only. Where
    videos are erased meanwhile, or files of its table version removed, it begins again from the newest version.
    `tell`: is told what a build or an update is and costs before a row is read.
    Errors: SourceMissing (no lake), NoIndex (no rows yet), LeaseHeld (another one changes this index), IndexingError,
    RecallTooLow; with `tell` NoPrice as well.
    """
    space, lake = space or open_space(config), Lake.open(config.lake)
    with indexing(lake, space.key, config) as lease:
        for _ in range(BEGINNINGS - 1):
            source = None
            try:
                source = IndexSource.settled(config, space)
                return _Build(source, lease, is_published, tell).bring_up(action)
            except (CorruptGeneration, StoreError) as error:
                if not _is_outdated(source, error):
                    raise
                log.warning("embed_key=%s begins_again=%s", space.key, error)
        return _Build(IndexSource.settled(config, space), lease, is_published, tell).bring_up(action)


def update_unless_held(config: Config, space: VectorSpace) -> str:
    """Update the index and give its generation; "" if another process changes it, which leaves new rows unindexed."""
    try:
        return build_index(config, space, "update").generation
    except LeaseHeld as error:
        log.warning("embed_key=%s index_left_to_another=%s", space.key, error)
        return ""


def _is_outdated(source: IndexSource | None, error: CorruptGeneration | StoreError) -> bool:
    """Whether what was to be indexed is not there any more, so that it has to be looked at again."""
    if source is None:  # between its version and its files
        return isinstance(error, NotFound)
    return source.erased_meanwhile() if isinstance(error, CorruptGeneration) else source.is_outdated()


class _Build:
    """One beginning, under the space's lease."""

    def __init__(self, source: IndexSource, lease: Lease, is_published: bool, tell: Tell | None) -> None:
        self._source, self._lease, self._is_published, self._tell = source, lease, is_published, tell
        self._check = PublishCheck(source.lake, lease, source.config)

    def bring_up(self, action: Action) -> Manifest:
        """What `build_index` says."""
        source = self._source
        why = self._forget(is_current_too=action != "build")
        if why and action == "compact":
            raise IndexingError(why)
        manifest = self._parent(action)
        if action == "build" or manifest is None or why:
            return self._built(manifest)
        if action == "compact":
            if is_compact(manifest, source.n_rows, source.section):
                return manifest
            return self._stored(_step("compact", source, manifest, self._tell))
        return self._updated(manifest)

    def _parent(self, action: Action) -> Manifest | None:
        """The current generation, if it is of use. Errors: CorruptGeneration for a compaction, which needs it."""
        try:
            manifest = current_generation(self._source.lake, self._source.space.key)
            if manifest and action != "build":
                check_stored(index_root(self._source.lake), manifest)
            return manifest
        except (CorruptGeneration, LakeFormat) as error:
            if action == "compact" or (action == "update" and isinstance(error, LakeFormat)):
                raise
            log.warning("embed_key=%s built_anew=%s", self._source.space.key, error)
            return None

    def _built(self, parent: Manifest | None) -> Manifest:
        made = self._stored(_step("build", self._source, parent, self._tell), self._is_published)
        if self._is_published:
            self._forget(is_current_too=False)
        return made

    def _updated(self, manifest: Manifest) -> Manifest:
        source, done = self._source, set[Action]()
        while True:
            advice = advise(manifest, source.n_rows, source.version, source.section)
            if advice.action == "keep" or advice.action in done:
                return manifest
            log.info("index_advice action=%s reasons=%s", advice.action, "; ".join(advice.reasons))
            done.add(advice.action)
            try:
                made = _step(advice.action, source, manifest, self._tell)
            except (CorruptGeneration, NoQueries) as error:
                if advice.action == "build" or (isinstance(error, CorruptGeneration) and source.erased_meanwhile()):
                    raise
                log.warning("embed_key=%s built_anew=%s", source.space.key, error)
                return self._built(None)
            if advice.action != "build" and (missed := shortfalls(made)):
                log.warning("embed_key=%s built_anew=%s", source.space.key, "; ".join(missed))
                return self._built(manifest)
            manifest = self._stored(made)

    def _stored(self, manifest: Manifest, is_published: bool = True) -> Manifest:
        """The generation, published. Errors: CorruptGeneration if it has rows that were erased, those of `publish`."""
        if is_published:
            publish(index_root(self._source.lake), manifest, self._check)
        else:
            self._check(manifest)
        return manifest

    def _forget(self, is_current_too: bool) -> str:
        """Remove what holds rows of erased videos, be it left by a build that did not end or by an erasure.

        What hinders that in the current generation, if anything does.
        """
        source = self._source
        if not len(source.erased):
            return ""
        if is_current_too:
            _, why = forget_space(source.lake, source.space.key, source.erased, source.config, self._lease)
            if why:
                log.warning("embed_key=%s not_forgotten=%s", source.space.key, why)
            return why
        mark = erasure_mark(source.erased)
        forget(index_root(source.lake), source.space.key, source.erased, mark, source.section.cache_bytes)
        return ""


def is_behind(config: Config, space: VectorSpace) -> bool:
    """True if the lake has rows and no generation of this space that could be read."""
    lake = Lake.open(config.lake)
    try:
        if current_generation(lake, space.key):
            return False
    except CorruptGeneration:
        log.warning("embed_key=%s the current generation cannot be read", space.key)
    return has_live_segments(lake, space.key)


def _step(action: Action, source: IndexSource, parent: Manifest | None, tell: Tell | None) -> Manifest:
    """Store the generation that an action makes of the current one; without one, of all rows."""
    fill = filler(source.config.flow)
    if parent is None or action == "build":
        if tell:
            tell(priced_build(source.config, source.space, source.n_rows, source.space.encoder.dim))
        queries = text_queries(source.config, source.space)
        workers = Workers(fill, trainer(source.config.flow, source.section.train_python))
        return build_generation(source.all, source.n_rows, source.target(parent), queries, source.section, workers)
    retired = source.retired.to_pylist()
    if action == "update":
        newer = source.rows(newer_units(source.lake, source.space.key, parent.table_version))
        if tell:
            tell(priced_update(parent, len(newer.segments), source.config))
        change = TableChange(source.n_rows, retired)
        return update_generation(newer, change, parent, source.target(parent), source.section, fill)
    plan = compacted(source.section.rows_per_shard) if action == "compact" else as_it_is
    return remake(source.lake, parent, plan, source.section, retired, erasure_mark(source.erased))
