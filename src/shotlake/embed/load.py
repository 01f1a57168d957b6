"""Which encoder a configuration means. The one place that knows them all; code from a model directory is never run."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from shotlake.config import EmbedConfig
from shotlake.embed import embedding_gemma2, pe_av
from shotlake.embed.checkpoint import CONFIG_NAME, Checkpoint, open_checkpoint
from shotlake.embed.encoder import Encoder
from shotlake.embed.grid import network_dtype
from shotlake.embed.late_fusion import LateFusionEncoder
from shotlake.embed.middle_frame import MiddleFrameEncoder
from shotlake.embed.mini.encoder import MINI_FOLDER, MiniEncoder
from shotlake.errors import BadModel

ARCHITECTURES = (pe_av.ARCHITECTURE, embedding_gemma2.ARCHITECTURE)


def load_encoder(config: EmbedConfig, device: str = "cpu") -> Encoder:
    """The encoder of `config.model` on `device` (cpu, cuda, or auto). Errors: BadModel, ConfigError."""
    on = resolve_device(device)
    if on == "cpu":
        torch.set_num_threads(1)  # one a core: two beside other work take several times the CPU seconds of one
    encoder = _load_named(config, on)
    return MiddleFrameEncoder(encoder) if config.frames == "middle" else encoder


def _load_named(config: EmbedConfig, device: str) -> Encoder:
    match config.model:
        case "mini":
            return MiniEncoder(MINI_FOLDER, config, device)
        case "late-fusion":
            return LateFusionEncoder(config, device, network_dtype(config, device))
        case name if name.startswith("python:"):
            return _load_installed(name, config, device)
        case name if (folder := Path(name).expanduser()).is_dir() and not (folder / CONFIG_NAME).exists():
            return MiniEncoder(folder, config, device)
        case name:
            return _load_checkpoint(open_checkpoint(name, config.revision), config, device)


def _load_checkpoint(checkpoint: Checkpoint, config: EmbedConfig, device: str) -> Encoder:
    """A directory or hub id in the layout of transformers, by the architecture that its config.json names."""
    dtype = network_dtype(config, device)
    match checkpoint.architecture:
        case pe_av.ARCHITECTURE:
            return pe_av.PeAvEncoder(checkpoint, config, device, dtype)
        case embedding_gemma2.ARCHITECTURE:
            return embedding_gemma2.EmbeddingGemma2Encoder(checkpoint, config, device, dtype)
        case other:
            raise BadModel(
                f"{checkpoint.folder} holds a model of the architecture {other!r}; "
                f"known are {', '.join(ARCHITECTURES)} and mini's own, see `shotlake models list`"
            )


def resolve_device(device: str) -> str:
    """`auto` to cuda where there is a GPU, else cpu. Errors: BadModel if cuda is asked for in vain."""
    if device == "cuda" and not torch.cuda.is_available():
        raise BadModel("embed.device is 'cuda', and torch sees no GPU here; set embed.device to auto or cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _load_installed(name: str, config: EmbedConfig, device: str) -> Encoder:
    """`python:module.Class`: an installed class, called as Class(config, device)."""
    module_name, _, class_name = name.removeprefix("python:").rpartition(".")
    try:
        encoder_class = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise BadModel(
            f"embed.model is {name!r}, which cannot be imported ({error}); name an installed python:module.Class"
        ) from error
    encoder = encoder_class(config, device)
    if not isinstance(encoder, Encoder):
        raise BadModel(f"embed.model is {name!r}, which lacks methods of shotlake.embed.encoder.Encoder; add them")
    return encoder
