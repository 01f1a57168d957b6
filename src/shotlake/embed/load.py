"""Which encoder a configuration means. The one place that knows them all; code from a model directory is never run."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.mini.encoder import MINI_FOLDER, MiniEncoder
from shotlake.errors import BadModel


def load_encoder(config: EmbedConfig, device: str = "cpu") -> Encoder:
    """The encoder of `config.model` on `device` (cpu, cuda, or auto). Errors: BadModel, ConfigError."""
    on = resolve_device(device)
    if on == "cpu":
        torch.set_num_threads(1)  # one a core: two beside other work take several times the CPU seconds of one
    match config.model:
        case "mini":
            return MiniEncoder(MINI_FOLDER, config, on)
        case name if name.startswith("python:"):
            return _load_installed(name, config, on)
        case name if Path(name).expanduser().is_dir():
            return MiniEncoder(Path(name).expanduser(), config, on)
        case name:
            raise BadModel(
                f"there is no model {name!r} on this machine; set embed.model to mini, to a directory with a "
                "checkpoint in mini's format, or to python:module.Class"
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
