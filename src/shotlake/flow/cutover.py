"""From one vector space to another: the second is backfilled beside the first, then answers in its place."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from shotlake.config import Config
from shotlake.errors import NoIndex, PreflightError, UsageError
from shotlake.flow.index_source import index_root
from shotlake.index.default import default_space, set_default_space
from shotlake.index.publish import current, list_embed_keys
from shotlake.table.lake import Lake
from shotlake.table.readers import retired_videos

SHORT_KEY = 8  # so many digits of an embed_key are enough to name it


def cut_over(target: str, config: Config, allow_missing: bool = False) -> dict[str, Any]:
    """Make a space the default, by its embed_key (or its first digits) or by its model; what `models cutover` prints.

    A space that misses videos of the one that answers now is refused unless `allow_missing`. It is undone by naming the
    other one. Errors: SourceMissing (no lake), NoIndex (no such space is published), UsageError (several are meant),
    PreflightError (videos are missing).
    """
    lake = Lake.open(config.lake)
    root = index_root(lake)
    models = {key: current(root, key).fingerprint.model_id for key in list_embed_keys(root)}
    key = _meant(target, models, config)
    before = next(iter(models))  # the default, or the last published
    missing = _missing(lake, before, key) if before != key else 0
    if missing and not allow_missing:
        raise PreflightError(
            f"{missing} videos of the space that answers now ({before[:SHORT_KEY]}, {models[before]}) have no vectors "
            f"in {key[:SHORT_KEY]} ({models[key]}); run `shotlake backfill` with that encoder, or --allow-missing"
        )
    number = set_default_space(root, key)
    return {"embed_key": key, "model": models[key], "before": before, "missing": missing, "pointer": number}


def spaces(config: Config) -> list[dict[str, Any]]:
    """The published spaces of a lake, that which answers first; what `models cutover` without a name prints."""
    lake = Lake.open(config.lake)
    root = index_root(lake)
    rows: list[dict[str, Any]] = []
    chosen = default_space(root)
    for key in list_embed_keys(root):
        manifest = current(root, key)
        rows.append(
            {
                "embed_key": key,
                "answers": "" if rows else "*",
                "since": chosen.at.isoformat(timespec="seconds") if chosen and chosen.embed_key == key else "",
                "model": manifest.fingerprint.model_id,
                "generation": manifest.generation,
                "rows": manifest.table_rows,
                "videos": len(_videos(lake, key)),
            }
        )
    return rows


def _meant(target: str, models: dict[str, str], config: Config) -> str:
    by_key = [key for key in models if len(target) >= SHORT_KEY and key.startswith(target)]
    found = by_key or [key for key, model in models.items() if model == target]
    if not found:
        known = ", ".join(f"{key[:SHORT_KEY]} ({model})" for key, model in models.items()) or "none"
        raise NoIndex(
            f"no space {target!r} is published in {config.lake!r}, which has {known}; backfill it with "
            "embed.new_space=true and build its index first"
        )
    if len(found) > 1:
        raise UsageError(f"{target!r} means {', '.join(found)}; give the embed_key of one")
    return found[0]


def _missing(lake: Lake, old: str, new: str) -> int:
    """How many videos have vectors in the old space and none in the new one."""
    return int(pc.sum(pc.invert(pc.is_in(_videos(lake, old), value_set=_videos(lake, new)))).as_py() or 0)


def _videos(lake: Lake, key: str) -> pa.Array:
    """Ids of the videos with vectors in a space, without retired ones."""
    units = lake.read("units", ["video_id"], (pc.field("embed_key") == key) & (pc.field("written") > 0))
    ids = pc.unique(units["video_id"].combine_chunks())
    return ids.filter(pc.invert(pc.is_in(ids, value_set=retired_videos(lake, key))))
