"""Opens the index that a service answers from: that of the configured model, or of the space that is chosen now."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path

from shotlake import storage
from shotlake.config import Config, EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.errors import CorruptGeneration, NotFound
from shotlake.index.default import default_space
from shotlake.index.manifest import Manifest
from shotlake.index.publish import list_generations, published_keys
from shotlake.index.searcher import Searcher
from shotlake.query.default import with_default_model
from shotlake.query.live import RowSearcher
from shotlake.query.search import LakeSearch, LoadSearcher
from shotlake.serve.look import Look
from shotlake.serve.router import Router

_log = logging.getLogger(__name__)


class Opener:
    """Of one service. An encoder stays loaded while the space that answers has the same one.

    Shards of a local lake are copied into the cache, as a remote lake's are: a file of the lake that is cut short would
    end the process that maps it, and one that is overwritten would be answered from.
    """

    def __init__(self, config: Config) -> None:
        self._config, self.look = config, Look()
        self._loaded: tuple[EmbedConfig, Encoder] | None = None
        self._chosen = ""

    def open(self) -> LakeSearch:
        """The snapshot of now. Errors: those of `LakeSearch.open`, BadModel."""
        chosen, config = self._default_key(), with_default_model(self._config)
        if not self._loaded or self._loaded[0] != config.embed:
            self._loaded = config.embed, load_encoder(config.embed, config.embed.device)
        search = self._whole(config, self._loaded[1], partial(self._load, config))
        self._chosen = chosen
        return search

    def _load(self, config: Config, index_root: str, manifest: Manifest, cache_dir: Path | None) -> RowSearcher:
        cache_bytes = config.index.cache_bytes
        with self.look.loading():
            if config.serve.holders:
                return Router.load(index_root, manifest, cache_dir, cache_bytes, config.serve)
            return Searcher.load(index_root, manifest, cache_dir, cache_bytes, in_place=False)

    def _whole(self, config: Config, encoder: Encoder, load: LoadSearcher) -> LakeSearch:
        """The current generation; where that is damaged, the last good one, until a look finds it whole."""
        try:
            return LakeSearch.open(config.lake, encoder, config, load=load)
        except CorruptGeneration as damage:
            root = storage.join(storage.normalise(config.lake), "index")
            earlier = [manifest for key in published_keys(root) for manifest in reversed(list_generations(root, key))]
            for manifest in (one for one in earlier if one.fingerprint == encoder.fingerprint):
                with suppress(CorruptGeneration, NotFound):  # nor is that a good one
                    search = LakeSearch.open(config.lake, encoder, config, load=load, manifest=manifest)
                    _log.error("event=fell_back generation=%s because=%s", manifest.generation, damage.message)
                    return search
            raise

    def is_moved(self) -> bool:
        """Whether another space was chosen since (`shotlake models cutover`). Errors: CorruptGeneration."""
        return self._default_key() != self._chosen

    def _default_key(self) -> str:
        chosen = default_space(storage.join(storage.normalise(self._config.lake), "index"))
        return chosen.embed_key if chosen else ""
