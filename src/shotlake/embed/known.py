"""The encoders that are known by name: what they are, where their weights are published, and which are here."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import scan_cache_dir, snapshot_download
from huggingface_hub.errors import CacheNotFound, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from shotlake.embed.checkpoint import WANTED_FILES, Checkpoint, is_hub_id, open_checkpoint
from shotlake.errors import AccessDenied, BadModel, ConfigError


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published encoder; `revision`s are chosen by who uses it."""

    model: str
    architecture: str
    spaces: str
    dim: int
    window_s: float
    licence: str
    note: str


KNOWN = (
    KnownModel("mini", "mini", "fused visual audio", 384, 2, "Apache-2.0", "shipped; knows a rendered toy world only"),
    KnownModel("facebook/pe-av-small-16-frame", "pe_audio_video", "fused visual audio", 1024, 10, "Apache-2.0", ""),
    KnownModel(
        "facebook/pe-av-base-16-frame", "pe_audio_video", "fused visual audio", 1024, 10, "Apache-2.0", "best value"
    ),
    KnownModel("facebook/pe-av-large-16-frame", "pe_audio_video", "fused visual audio", 1024, 10, "Apache-2.0", ""),
    KnownModel(
        "google/embeddinggemma-2",
        "embedding_gemma2",
        "fused visual audio",
        768,
        10,
        "see its card",
        "evaluate it first",
    ),
)


def list_models() -> list[dict[str, Any]]:
    """The known encoders; `here` are the first digits of the revisions that were fetched to this machine."""
    fetched = _fetched()
    return [
        {**asdict(known), "here": "yes" if known.model == "mini" else " ".join(fetched.get(known.model, []))}
        for known in KNOWN
    ]


def fetch_model(name: str, revision: str = "") -> Checkpoint:
    """Download the safetensors and settings of a hub id, prove them, and give the pinned checkpoint.

    `revision`: a commit, branch or tag; the newest commit if empty. Errors: ConfigError (no hub id), AccessDenied,
    BadModel (no such repository or revision, no network, or not a usable checkpoint).
    """
    if not is_hub_id(name):
        raise ConfigError(f"{name!r} is no hub id; give owner/name, such as {KNOWN[2].model}")
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(WANTED_FILES)))
    except (RepositoryNotFoundError, HFValidationError):
        raise BadModel(f"the hub has no model {name!r} that may be seen from here; correct its name") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise AccessDenied(f"the hub refuses {name!r} ({status}); accept its licence and set HF_TOKEN") from None
        raise BadModel(f"the hub has no {name!r} at {revision or 'its newest commit'} ({status})") from None
    except (OSError, RuntimeError) as error:  # no network, no space
        reason = " ".join(str(error).split())[:200]
        raise BadModel(f"{name!r} cannot be fetched ({reason}); fetch it where there is a network") from None
    return open_checkpoint(name, folder.name)


def _fetched() -> dict[str, list[str]]:
    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return {}
    return {repo.repo_id: sorted(found.commit_hash[:8] for found in repo.revisions) for repo in cache.repos}
