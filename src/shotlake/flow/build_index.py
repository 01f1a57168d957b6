"""Table version -> published generation: live rows stream into shards, text queries tune them, a pointer is put."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from shotlake.config import Config
from shotlake.errors import CorruptGeneration
from shotlake.flow.fill_shards import filler
from shotlake.flow.generations import remake, remove_index
from shotlake.flow.index_plan import PlannedIndex, priced_build, priced_update
from shotlake.flow.index_source import IndexSource, current_generation, index_root, newer_units, text_queries
from shotlake.flow.space import VectorSpace, open_space
from shotlake.flow.train_epochs import trainer
from shotlake.index.advice import Action, advise, is_compact
from shotlake.index.build import TableChange, build_generation, update_generation
from shotlake.index.fill import Workers
from shotlake.index.manifest import Manifest
from shotlake.index.prune import prune
from shotlake.index.publish import latest_pointer, publish
from shotlake.index.rewrite import as_it_is, compacted
from shotlake.table.lake import Lake
from shotlake.table.readers import has_live_segments, retired_videos

log = logging.getLogger(__name__)

Tell = Callable[[PlannedIndex], None]


def build_index(
    config: Config,
    space: VectorSpace | None = None,
    action: Literal["build", "update", "compact"] = "build",
    is_published: bool = True,
    tell: Tell | None = None,
) -> Manifest:
    """Bring the index of the configured space up to the newest table version and publish it.

    `action`: build trains a new epoch; update does what `shotlake index status` advises, which may be several steps:
    nothing, fresh shards, fewer shards, other targets, or building; compact leaves fewer shards without retired rows.
    `is_published`: else a built generation is stored only. Where videos are erased meanwhile, it begins again, since
    nothing of them may stay behind. `tell`: is told what a build or an update is and costs before a row is read.
    Errors: SourceMissing (no lake), NoIndex (no rows yet), IndexingError, RecallTooLow; with `tell` NoPrice as well.
    """
    space = space or open_space(config)
    while True:
        source = IndexSource(config, space)
        try:
            return _brought_up(source, action, is_published, tell)
        except CorruptGeneration:
            if not source.erased_meanwhile():
                raise
            log.warning("embed_key=%s videos were erased while their rows were indexed: begins again", space.key)
            _remove_drafts(source)


def _brought_up(source: IndexSource, action: Action, is_published: bool, tell: Tell | None) -> Manifest:
    manifest = current_generation(source.lake, source.space.key)
    if action == "build" or manifest is None:
        return _stored(source, _step("build", source, manifest, tell), is_published)
    if action == "compact":
        if is_compact(manifest, source.n_rows, source.section):
            return manifest
        return _stored(source, _step("compact", source, manifest, tell))
    done: set[Action] = set()
    while True:
        advice = advise(manifest, source.n_rows, source.version, source.section)
        if advice.action == "keep" or advice.action in done:
            return manifest
        log.info("index_advice action=%s reasons=%s", advice.action, "; ".join(advice.reasons))
        done.add(advice.action)
        manifest = _stored(source, _step(advice.action, source, manifest, tell))


def is_behind(config: Config, space: VectorSpace) -> bool:
    """True if the lake has rows and no generation of this space."""
    lake = Lake.open(config.lake)
    return current_generation(lake, space.key) is None and has_live_segments(lake, space.key)


def _step(action: Action, source: IndexSource, parent: Manifest | None, tell: Tell | None) -> Manifest:
    """Store the generation that an action makes of the current one; without one, of all rows."""
    fill = filler(source.config.flow)
    if parent is None or action == "build":
        if tell:
            tell(priced_build(source.config, source.space, source.n_rows, source.space.encoder.dim))
        queries = text_queries(source.config, source.space)
        workers = Workers(fill, trainer(source.config.flow, source.section.train_python))
        return build_generation(source.all, source.n_rows, source.target(parent), queries, source.section, workers)
    retired = retired_videos(source.lake, source.space.key).to_pylist()
    if action == "update":
        newer = source.rows(newer_units(source.lake, source.space.key, parent.table_version))
        if tell:
            tell(priced_update(parent, len(newer.segments), source.config))
        change = TableChange(source.n_rows, retired)
        return update_generation(newer, change, parent, source.target(parent), source.section, fill)
    plan = compacted(source.section.rows_per_shard) if action == "compact" else as_it_is
    return remake(source.lake, parent, plan, source.section, retired)


def _stored(source: IndexSource, manifest: Manifest, is_published: bool = True) -> Manifest:
    """The generation, published. Errors: CorruptGeneration if videos were erased meanwhile, and those of `publish`."""
    if source.erased_meanwhile():
        raise CorruptGeneration(f"generation {manifest.generation} has rows that were erased; build the index again")
    if is_published:
        publish(index_root(source.lake), manifest)
    return manifest


def _remove_drafts(source: IndexSource) -> None:
    """Everything that no published generation needs, since it may hold what was erased."""
    root, key = index_root(source.lake), source.space.key
    if latest_pointer(root, key):
        prune(root, key, source.config.index.keep_generations, grace=timedelta(0))
    else:
        remove_index(source.lake, key)
