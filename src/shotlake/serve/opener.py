"""Opens the index that a service answers from: that of the configured model, or of the space that is chosen now."""

from __future__ import annotations

from functools import partial

from shotlake import storage
from shotlake.config import Config, EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.index.default import default_space
from shotlake.query.default import with_default_model
from shotlake.query.search import LakeSearch
from shotlake.serve.router import Router


class Opener:
    """Of one service. An encoder stays loaded while the space that answers has the same one."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._loaded: tuple[EmbedConfig, Encoder] | None = None
        self._chosen = ""

    def open(self) -> LakeSearch:
        """The snapshot of now. Errors: those of `LakeSearch.open`, BadModel."""
        chosen, config = self._default_key(), with_default_model(self._config)
        if not self._loaded or self._loaded[0] != config.embed:
            self._loaded = config.embed, load_encoder(config.embed, config.embed.device)
        on_holders = partial(Router.load, cache_bytes=config.index.cache_bytes, config=config.serve)
        load = on_holders if config.serve.holders else None
        search = LakeSearch.open(config.lake, self._loaded[1], config, load=load)
        self._chosen = chosen
        return search

    def is_moved(self) -> bool:
        """Whether another space was chosen since (`shotlake models cutover`). Errors: CorruptGeneration."""
        return self._default_key() != self._chosen

    def _default_key(self) -> str:
        chosen = default_space(storage.join(storage.normalise(self._config.lake), "index"))
        return chosen.embed_key if chosen else ""
