"""The encoder of the space that answers where no model is named."""

from __future__ import annotations

import pyarrow.compute as pc

from shotlake import storage
from shotlake.config import Config
from shotlake.index.default import default_space
from shotlake.table.lake import Lake


def with_default_model(config: Config) -> Config:
    """The configuration as it is if it names `embed.model`; else with the encoder that filled the lake's default space.

    Errors: SourceMissing (no lake).
    """
    if "model" in config.embed.model_fields_set:
        return config
    lake = Lake.open(config.lake)
    chosen = default_space(storage.join(lake.root, "index"))
    if chosen is None:
        return config
    runs = lake.read("runs", ["config", "at"], pc.field("embed_key") == chosen.embed_key).sort_by("at")
    if not len(runs):
        return config
    recorded = Config.model_validate_json(runs["config"][-1].as_py())
    embed = recorded.embed.model_copy(update={"device": config.embed.device})
    return config.model_copy(update={"embed": embed})
