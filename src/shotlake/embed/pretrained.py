"""Networks and tokenizers of transformers from a proved checkpoint: no code of its own, no half of the weights."""

from __future__ import annotations

import importlib
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

import torch
from torch import nn

from shotlake.embed.checkpoint import Checkpoint
from shotlake.errors import BadModel

log = logging.getLogger(__name__)

_BOXES = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def load_network(class_name: str, checkpoint: Checkpoint, dtype: torch.dtype, device: str) -> Any:
    """The network of a transformers class, ready for inference. Errors: BadModel, in one sentence."""
    with _as_bad_model(checkpoint):
        network_class = getattr(import_transformers(), class_name)
        network, report = network_class.from_pretrained(
            checkpoint.folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told below, by name
        )
    wrong = sorted(report["missing_keys"]) or sorted(name for name, *_ in report["mismatched_keys"])
    if wrong:
        raise BadModel(
            f"{checkpoint.folder} does not hold a whole {class_name}: {len(wrong)} tensors are missing or of another "
            f"shape, such as {wrong[0]}; fetch the model again"
        )
    return _frozen(network, device)


def load_tokenizer(checkpoint: Checkpoint) -> Any:
    """The checkpoint's own tokenizer. Errors: BadModel."""
    with _as_bad_model(checkpoint):
        return import_transformers().AutoTokenizer.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )


def import_transformers() -> Any:
    """transformers, quiet. Errors: ImportError."""
    _import_torchvision()
    transformers = importlib.import_module("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _import_torchvision() -> None:
    """Import torchvision even where its compiled half does not load, as with a wheel of CUDA beside a torch for CPU.

    Vision towers use its Python half only, which fails on import for two operators that nobody has declared then.
    """
    try:
        importlib.import_module("torchvision")
    except ModuleNotFoundError:
        return  # a model that needs it will say so
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", _BOXES)
        importlib.import_module("torchvision")


def _frozen(network: nn.Module, device: str) -> nn.Module:
    return network.eval().requires_grad_(False).to(device)


@contextmanager
def _as_bad_model(checkpoint: Checkpoint) -> Iterator[None]:
    """The one border where everything that transformers and its like raise is wrapped; they share no root."""
    printed = io.StringIO()  # transformers prints about its own docstrings, and stdout is ours
    try:
        with redirect_stdout(printed):
            yield
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BadModel(
            f"{checkpoint.folder} cannot be loaded as a {checkpoint.architecture!r} model ({reason}); "
            "`shotlake models check` tells what is there"
        ) from error
    finally:
        log.debug("folder=%s printed=%r", checkpoint.folder, printed.getvalue())
