"""Models of one sense whose vectors meet those of texts: SigLIP 2 and VideoPrism-LvT for pictures, CLAP for sound.

Each is a tower with a text head of its own: frames or sounds to raw vectors, texts to raw vectors.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.checkpoint import Checkpoint
from shotlake.embed.feed import pixels
from shotlake.embed.pretrained import import_transformers, load_network, load_tokenizer
from shotlake.embed.text import tokens
from shotlake.errors import BadModel


class PictureTower(Protocol):
    """Frames of one size to a vector a clip."""

    dim: int
    size_px: int
    n_frames: int
    rules: str

    def see(self, frames_BTHW3: Tensor) -> Tensor:
        """uint8 to raw vectors [B, dim]."""

    def read(self, texts: list[str]) -> Tensor:
        """[Q, dim] raw."""


class SiglipTower:
    """A `siglip` checkpoint (SigLIP 2 of a fixed size is one): each frame by itself, the mean of their unit vectors."""

    n_frames = 16

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> None:
        image = checkpoint.processor("image_processor", "preprocessor_config.json")
        self._mean, self._std = image.get("image_mean") or [0.5] * 3, image.get("image_std") or [0.5] * 3
        self._network: Any = load_network("SiglipModel", checkpoint, dtype, device)
        self._tokenizer = load_tokenizer(checkpoint)
        self._device, self._dtype = device, dtype
        self._max_words = int(self._network.config.text_config.max_position_embeddings)
        self.size_px = int(self._network.config.vision_config.image_size)
        self.dim = int(self._network.config.vision_config.hidden_size)
        self.rules = f"frames / 255, mean {self._mean} std {self._std}; mean of unit frame vectors"

    def see(self, frames_BTHW3: Tensor) -> Tensor:
        """The length of the mean says how much the frames agree."""
        n_clips, n_frames = frames_BTHW3.shape[:2]
        values = pixels(frames_BTHW3.flatten(0, 1), self._mean, self._std, self._dtype)
        found = self._network.get_image_features(pixel_values=values).pooler_output.float()
        return torch.nn.functional.normalize(found, dim=-1).view(n_clips, n_frames, -1).mean(dim=1)

    def read(self, texts: list[str]) -> Tensor:
        """Lower case, always padded to the whole length: so the model was trained."""
        lower = [text.lower() for text in texts]
        words = tokens(self._tokenizer, lower, self._max_words, self._device, padding="max_length")
        found: Tensor = self._network.get_text_features(input_ids=words["input_ids"]).pooler_output
        return found


class VideoPrismTower:
    """A `videoprism` checkpoint with a text tower: all frames of a clip at once."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> None:
        self._network: Any = load_network("VideoPrismClipModel", checkpoint, dtype, device)
        self._tokenizer = load_tokenizer(checkpoint)
        self._device, self._dtype = device, dtype
        vision, text = self._network.config.vision_config, self._network.config.text_config
        self._max_words = int(text.max_position_embeddings)
        size = vision.image_size
        self.size_px = int(size if isinstance(size, int) else size[0])
        self.n_frames, self.dim = int(vision.num_frames), int(vision.hidden_size)
        self.rules = "frames / 255"

    def see(self, frames_BTHW3: Tensor) -> Tensor:
        """As the checkpoint's own attention pools them."""
        values = pixels(frames_BTHW3, [0.0] * 3, [1.0] * 3, self._dtype)
        found: Tensor = self._network.get_video_features(pixel_values_videos=values).pooler_output
        return found.reshape(len(values), self.dim)

    def read(self, texts: list[str]) -> Tensor:
        """Padded to the whole length, as its processor does."""
        words = tokens(self._tokenizer, texts, self._max_words, self._device, padding="max_length")
        found: Tensor = self._network.get_text_features(**words).pooler_output
        return found


class ClapTower:
    """A `clap` checkpoint without feature fusion: a short sound is repeated, one that is too long is not taken."""

    def __init__(self, checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> None:
        if checkpoint.settings.get("audio_config", {}).get("enable_fusion"):
            raise BadModel(f"{checkpoint.folder} fuses random crops of a sound; take a CLAP without enable_fusion")
        sound = checkpoint.processor("feature_extractor", "preprocessor_config.json")
        kept = {name: value for name, value in sound.items() if name not in ("feature_extractor_type", "truncation")}
        self._mel = import_transformers().ClapFeatureExtractor(**kept, truncation="rand_trunc")
        self._network: Any = load_network("ClapModel", checkpoint, dtype, device)
        self._tokenizer = load_tokenizer(checkpoint)
        self._device, self._dtype = device, dtype
        self._max_words = min(512, int(self._network.config.text_config.max_position_embeddings) - 2)
        self.sample_rate_hz, self.longest_s = int(self._mel.sampling_rate), float(self._mel.max_length_s)
        self.dim = int(self._network.config.projection_dim)
        self.rules = f"log-mel of the checkpoint, {self._mel.padding} to {self.longest_s:g} s"

    def mel(self, sounds: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        """[B, 1, frames, mels] of sounds of any length up to the longest."""
        found = self._mel(sounds, sampling_rate=self.sample_rate_hz, return_tensors="np")
        return np.asarray(found["input_features"], np.float32)

    def hear(self, mel: Tensor) -> Tensor:
        """[B, dim] raw."""
        found: Tensor = self._network.get_audio_features(input_features=mel.to(self._dtype)).pooler_output
        return found

    def read(self, texts: list[str]) -> Tensor:
        """[Q, dim] raw."""
        words = tokens(self._tokenizer, texts, self._max_words, self._device)
        found: Tensor = self._network.get_text_features(**words).pooler_output
        return found


def picture_tower(checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> PictureTower:
    """The tower of a picture checkpoint. Errors: BadModel for another architecture."""
    match checkpoint.architecture:
        case "siglip":
            return SiglipTower(checkpoint, device, dtype)
        case "videoprism":
            return VideoPrismTower(checkpoint, device, dtype)
        case other:
            raise BadModel(f"{checkpoint.folder} is {other!r}; embed.late.visual takes siglip or videoprism")


def sound_tower(checkpoint: Checkpoint, device: str, dtype: torch.dtype) -> ClapTower:
    """The tower of a sound checkpoint. Errors: BadModel for another architecture."""
    if checkpoint.architecture != "clap":
        raise BadModel(f"{checkpoint.folder} is {checkpoint.architecture!r}; embed.late.audio takes clap")
    return ClapTower(checkpoint, device, dtype)
