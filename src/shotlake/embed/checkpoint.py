"""A model directory as hubs lay it out: found on this machine, and proved whole and safe before anything is loaded.

`config.json` beside safetensors files. Nothing here touches a network, and no code of a model directory is ever run.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from shotlake.embed.weights import Seen
from shotlake.errors import BadModel
from shotlake.records import Fingerprint

CONFIG_NAME = "config.json"
WANTED_FILES = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")  # neither pickles nor code
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")


@dataclass(frozen=True)
class Checkpoint:
    """A proved model directory. `name` and `revision` are those of the hub, `name` the architecture without one."""

    folder: Path
    name: str
    revision: str
    settings: dict[str, Any]  # config.json
    seen: Seen  # the weights, as they were before anything was loaded

    @property
    def architecture(self) -> str:
        """`model_type` of config.json."""
        return str(self.settings.get("model_type", ""))

    @cached_property
    def weights_sha256(self) -> str:
        """Of the one file, or of the names and hashes of several; to be asked for after loading. Errors: BadModel."""
        hashes = self.seen.sha256s()
        if len(hashes) == 1:
            return hashes[0]
        lines = "".join(f"{path.name} {digest}\n" for path, digest in zip(self.seen.paths, hashes))
        return hashlib.sha256(lines.encode()).hexdigest()

    def fingerprint(self, preprocessing: str) -> Fingerprint:
        """What identifies the encoder; `preprocessing` is all that happens to a clip and a text before the network."""
        return Fingerprint(
            self.name, self.revision, self.weights_sha256, hashlib.sha256(preprocessing.encode()).hexdigest()
        )

    def processor(self, part: str, file: str) -> dict[str, Any]:
        """Settings of a preprocessing part: its section of processor_config.json, else its own `file`, else nothing."""
        section = _read_json(self.folder / "processor_config.json").get(part)
        return dict(section) if isinstance(section, dict) else _read_json(self.folder / file)


def is_hub_id(name: str) -> bool:
    """True for `owner/name`."""
    return _HUB_ID.fullmatch(name) is not None


def open_checkpoint(name: str, revision: str = "") -> Checkpoint:
    """The checkpoint in a local directory, or of a hub id at a commit that was fetched before. Errors: BadModel."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _prove(folder, "", "")
    if not is_hub_id(name):
        raise BadModel(f"there is no model directory {name!r}; set embed.model to one, to mini or to a hub id")
    if not _COMMIT.fullmatch(revision):
        raise BadModel(
            f"embed.revision of {name!r} is {revision!r}; pin the 40 hex digits of a commit, "
            f"`shotlake models fetch {name}` prints the newest"
        )
    found = _cached(name, revision)
    if found is None:
        raise BadModel(
            f"the weights of {name!r} at {revision} are not on this machine; "
            f"run `shotlake models fetch {name} --revision {revision}`, or set embed.model to a directory with them"
        )
    return _prove(found, name, revision)


def _cached(name: str, revision: str) -> Path | None:
    """Where the hub's own cache has a commit; nothing is asked of a network."""
    from huggingface_hub import snapshot_download  # half a second that only hub ids have to wait
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(name, revision=revision, allow_patterns=list(WANTED_FILES), local_files_only=True)
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _prove(folder: Path, name: str, revision: str) -> Checkpoint:
    settings = _read_json(folder / CONFIG_NAME)
    for path in sorted(folder.glob("*.json")):
        if "auto_map" in _read_json(path):
            raise BadModel(
                f"{path} asks for code of its own to be run (auto_map), which shotlake never does; "
                "choose a checkpoint that transformers reads without it"
            )
    seen = Seen.now(_weights(folder))
    for path in seen.paths:
        try:
            with safe_open(path, "pt") as file:
                file.keys()
        except (OSError, SafetensorError) as error:
            raise BadModel(f"{path} is not a whole safetensors file ({error}); fetch it again") from None
    return Checkpoint(folder, name or str(settings.get("model_type", "")), revision, settings, seen)


def _weights(folder: Path) -> tuple[Path, ...]:
    """The one safetensors file, or the parts that its index names."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.exists():
        return (whole,)
    if index.exists():
        names = sorted(set(_read_json(index).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).exists()]
        if missing or not names:
            raise BadModel(f"{index} names {', '.join(missing) or 'no file'} which is not there; fetch the model again")
        return tuple(folder / name for name in names)
    others = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    found = f"holds {', '.join(others)}, and only safetensors are read" if others else "has no model.safetensors"
    raise BadModel(f"the model directory {folder} {found}; fetch or convert the weights")


def _read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty where there is no file. Errors: BadModel."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadModel(f"{path} is not readable JSON ({error}); fetch the model again") from None
    if not isinstance(tree, dict):
        raise BadModel(f"{path} holds a {type(tree).__name__}, not an object; fetch the model again")
    return tree
