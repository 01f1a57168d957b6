"""A `mini` network at rest: one safetensors file, float16, whose header holds its sizes, its words and its training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from shotlake.embed.mini.model import MiniModel, MiniShape
from shotlake.errors import BadModel

FORMAT = "shotlake-mini-3"


def save_weights(path: Path, model: MiniModel, vocabulary: Sequence[str], training: Mapping[str, Any]) -> None:
    """Write the network; `training` is how it came about, for the card."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in model.state_dict().items()}
    header = {"shape": json.dumps(asdict(model.shape)), "words": " ".join(vocabulary)}
    save_file(tensors, path, {"format": FORMAT, "training": json.dumps(dict(training)), **header})


def read_header(path: Path) -> dict[str, Any]:
    """Shape, words and training. Errors: BadModel."""
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path} is not a whole safetensors file ({error}); copy or train it again") from error
    if header.get("format") != FORMAT:
        found = header.get("format", "of another model")
        raise BadModel(f"{path} has the format {found!r}; mini reads {FORMAT!r} only, see embed.model")
    try:
        shape, training = json.loads(header["shape"]), json.loads(header["training"])
        return {"shape": shape, "words": header["words"].split(), "training": training}
    except (KeyError, ValueError) as error:
        raise BadModel(f"{path} has a header without a valid {error}; copy or train it again") from error


def load_weights(path: Path) -> tuple[MiniModel, list[str]]:
    """The network in float32, ready for inference, and its words. Errors: BadModel."""
    header = read_header(path)
    try:
        model = MiniModel(MiniShape(**{**header["shape"], "stem": tuple(header["shape"]["stem"])}))
        with safe_open(path, "pt") as file:
            model.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadModel(f"{path} does not hold a mini network ({reason}); copy or train it again") from error
    return model.eval(), header["words"]


def find_weights(folder: Path) -> Path:
    """The one safetensors file of a model directory. Errors: BadModel."""
    found = sorted(folder.glob("*.safetensors"))
    if len(found) != 1:
        there = ", ".join(path.name for path in found) or "none"
        raise BadModel(f"the model directory {folder} holds {there} for .safetensors, not just one; see embed.model")
    return found[0]
