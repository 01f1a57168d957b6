"""Tiny random checkpoints in the real formats, saved by transformers itself, and clips to show them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from shotlake.embed.pretrained import import_transformers
from shotlake.records import ClipBatch, ClipSpec

WORDS = ("a", "red", "car", "dog", "barking", "in", "the", "rain", "music", "street")
TINY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}


def random_weights(network: torch.nn.Module, seed: int, gain: float = 1.5) -> torch.nn.Module:
    """Weights large enough that two clips get vectors far apart, or nothing would be tested."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.dim() < 2:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            weight.data = centre + 0.1 * torch.randn(weight.shape, generator=generator)
        elif "alpha" not in name:
            fan_in = weight[0].numel()
            weight.data = torch.randn(weight.shape, generator=generator) * gain / fan_in**0.5
    return network.eval()


def save_tokenizer(folder: Path, special: tuple[str, ...] = ("[PAD]", "[CLS]", "[SEP]", "[UNK]"), **tokens: Any) -> int:
    """A word-level tokenizer with these tokens first; the size of its vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate((*special, *WORDS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special[3]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[1]} $A {special[2]}", special_tokens=[(special[1], 1), (special[2], 2)]
    )
    fast = import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=special[0], cls_token=special[1], sep_token=special[2],
        unk_token=special[3], **tokens,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return len(vocabulary)


def save_pe_av(folder: Path, seed: int = 0, strong: bool = True) -> Path:
    """A `pe_audio_video` checkpoint: towers of two layers, frames of 336 px in 24 x 24 patches.

    Not `strong`: the weights are those that transformers draws, under which all clips are much alike.
    """
    transformers = import_transformers()
    n_words = save_tokenizer(folder)
    vision = {
        "model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336", "num_classes": 16,
        "do_pooling": True, "global_pool": "map", "model_args": {"embed_dim": 32, "depth": 1, "num_heads": 2},
    }  # fmt: skip
    dac = {"model_type": "dac", "encoder_hidden_size": 4, "downsampling_ratios": [2, 8, 10, 12],
           "hidden_size": 32, "codebook_dim": 8}  # fmt: skip
    config = transformers.PeAudioVideoConfig(
        text_config={
            "model_type": "modernbert", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": n_words, "pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2,
        },
        audio_video_config={
            **TINY,
            "audio_config": {"model_type": "pe_audio_encoder", **TINY, "dac_config": dac},
            "video_config": {"model_type": "pe_video_encoder", **TINY, "vision_config": vision},
        },
    )  # fmt: skip
    torch.manual_seed(seed)
    network = transformers.PeAudioVideoModel(config)
    (random_weights(network, seed) if strong else network).save_pretrained(folder)
    pe_av_processors()[0].save_pretrained(folder)
    pe_av_processors()[1].save_pretrained(folder)
    return folder


def pe_av_processors() -> tuple[Any, Any]:
    """The reference's own preprocessing of sound and of frames, as the public checkpoints configure it."""
    transformers = import_transformers()
    sound = transformers.PeAudioFeatureExtractor(feature_size=1, sampling_rate=48_000, hop_length=1920)
    video = transformers.PeVideoVideoProcessor(
        size={"height": 336, "width": 336}, image_mean=[0.5] * 3, image_std=[0.5] * 3, rescale_factor=1 / 255,
        do_resize=True, do_rescale=True, do_normalize=True, do_sample_frames=False,
    )  # fmt: skip
    return sound, video


def random_clips(spec: ClipSpec, sounds_s: list[float], seed: int = 0) -> ClipBatch:
    """A clip for each entry: frames of soft random colours, and so many seconds of tones and noise (0: no sound)."""
    rng, n_clips = np.random.default_rng(seed), len(sounds_s)
    coarse = rng.integers(0, 256, (n_clips, spec.n_frames, 4, 4, 3), dtype=np.uint8)
    rows, columns = (np.arange(size) * 4 // size for size in (spec.height_px, spec.width_px))
    waveform = np.zeros((n_clips, spec.n_samples), np.float32)
    lengths = [round(seconds * spec.sample_rate_hz) for seconds in sounds_s]
    times = np.arange(spec.n_samples) / spec.sample_rate_hz
    for sound, length in zip(waveform, lengths):
        tone = np.sin(2 * np.pi * rng.uniform(200, 2_000) * times) + 0.1 * rng.standard_normal(spec.n_samples)
        sound[:length] = 0.4 * tone[:length]
    start_us = np.arange(n_clips) * spec.stride_us
    return ClipBatch(
        segment_id=np.array([f"segment-{number}" for number in range(n_clips)], object),
        cell=np.arange(n_clips),
        start_us=start_us,
        end_us=start_us + spec.window_us,
        frames=np.ascontiguousarray(coarse[:, :, rows][:, :, :, columns]),
        frame_mask=np.ones((n_clips, spec.n_frames), bool),
        frame_us=np.zeros((n_clips, spec.n_frames), np.int64),
        waveform=waveform,
        sample_mask=np.arange(spec.n_samples) < np.array(lengths)[:, None],
    )


def save_gemma2(folder: Path, seed: int = 0) -> Path:
    """An `embedding_gemma2` checkpoint with both towers, and the tokenizer and processors that belong to it."""
    transformers = import_transformers()
    marks = {
        "image_token": "<|image|>", "boi_token": "<|image>", "eoi_token": "<image|>",
        "audio_token": "<|audio|>", "boa_token": "<|audio>", "eoa_token": "<audio|>",
    }  # fmt: skip
    names = ("<pad>", "<bos>", "<eos>", "<unk>", *marks.values(), "<|video|>")
    n_words = save_tokenizer(folder, names, extra_special_tokens=marks, additional_special_tokens=["<|video|>"])
    number = {name: at for at, name in enumerate(names)}
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.EmbeddingGemma2Config(
        text_config={
            **size, "vocab_size": n_words, "intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 16,
            "global_head_dim": 16, "num_global_key_value_heads": 1, "hidden_size_per_layer_input": 8,
            "embedding_dim": 24, "sliding_window": 64, "sliding_window_pattern": 2, "pad_token_id": 0,
            "bos_token_id": 1, "eos_token_id": 2,
        },
        vision_config={"model_type": "gemma4_vision", **size, "intermediate_size": 48, "num_key_value_heads": 2,
                       "head_dim": 16},
        audio_config={"model_type": "gemma4_audio", **size, "subsampling_conv_channels": [128, 4],
                      "output_proj_dims": 32},
        image_token_id=number["<|image|>"], boi_token_id=number["<|image>"], eoi_token_id=number["<image|>"],
        audio_token_id=number["<|audio|>"], boa_token_id=number["<|audio>"], eoa_token_index=number["<audio|>"],
        video_token_id=number["<|video|>"],
    )  # fmt: skip
    random_weights(transformers.EmbeddingGemma2Model(config), seed).save_pretrained(folder)
    gemma2_processor(folder).save_pretrained(folder)
    return folder


def gemma2_processor(folder: Path) -> Any:
    """The reference's own preprocessing."""
    transformers = import_transformers()
    return transformers.EmbeddingGemma2Processor(
        feature_extractor=transformers.Gemma4AudioFeatureExtractor(),
        image_processor=transformers.Gemma4ImageProcessor(),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        video_processor=transformers.EmbeddingGemma2VideoProcessor(),
    )


def save_siglip(folder: Path, seed: int = 0) -> Path:
    """A `siglip` checkpoint for frames of 64 px."""
    transformers = import_transformers()
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config={**size, "vocab_size": save_tokenizer(folder), "max_position_embeddings": 12, "pad_token_id": 0,
                     "projection_size": 32},
        vision_config={**size, "image_size": 64, "patch_size": 16},
    )  # fmt: skip
    random_weights(transformers.SiglipModel(config), seed).save_pretrained(folder)
    siglip_processor().save_pretrained(folder)
    return folder


def siglip_processor() -> Any:
    """The reference's own preprocessing of frames."""
    return import_transformers().SiglipImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.5] * 3, image_std=[0.5] * 3, rescale_factor=1 / 255
    )


def save_videoprism(folder: Path, seed: int = 0) -> Path:
    """A `videoprism` checkpoint with a text tower, for 8 frames of 72 px."""
    transformers = import_transformers()
    size = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    config = transformers.VideoPrismConfig(
        text_config={**size, "vocab_size": save_tokenizer(folder), "num_hidden_layers": 2,
                     "max_position_embeddings": 12, "pad_token_id": 0},
        vision_config={**size, "image_size": 72, "num_frames": 8, "num_spatial_layers": 2, "num_temporal_layers": 1,
                       "num_auxiliary_layers": 1},
    )  # fmt: skip
    random_weights(transformers.VideoPrismClipModel(config), seed).save_pretrained(folder)
    return folder


def save_clap(folder: Path, seed: int = 0, fused: bool = False) -> Path:
    """A `clap` checkpoint with a small HTSAT and a small RoBERTa."""
    transformers = import_transformers()
    config = transformers.ClapConfig(
        text_config={
            "vocab_size": save_tokenizer(folder), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 40, "pad_token_id": 0, "projection_dim": 24,
        },
        audio_config={
            "patch_embeds_hidden_size": 16, "depths": [1, 1, 1, 1], "num_attention_heads": [2, 2, 2, 2],
            "hidden_size": 128, "projection_dim": 24, "enable_fusion": fused,
        },
        projection_dim=24,
    )  # fmt: skip
    random_weights(transformers.ClapModel(config), seed, gain=1.0).save_pretrained(folder)
    clap_extractor().save_pretrained(folder)
    return folder


def clap_extractor() -> Any:
    """The reference's own preprocessing of sound, as of the checkpoints without feature fusion."""
    return import_transformers().ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad")
