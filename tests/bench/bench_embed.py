"""The embedding stage against the bare network on the same pre-decoded clips: JSON lines.

`python tests/bench/bench_embed.py [--clips 6] [--rounds 3]`. The network is PE-AV with random weights: small towers on
a CPU, the library's default shapes (those of the large one) in bfloat16 where there is a GPU. Bare and stage take turns
and the least of the rounds counts, so that other work on the machine weighs on neither.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.embed.checkpoints import pe_av_processors, random_clips, random_weights, save_tokenizer

from shotlake.config import EmbedConfig
from shotlake.embed.encoder import Encoder
from shotlake.embed.load import load_encoder
from shotlake.embed.pretrained import import_transformers
from shotlake.flow.steps import EmbedClips
from shotlake.records import ClipBatch, MediaInfo, Video, WorkUnit, media_to_json, work_unit_to_json

SMALL = {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 3, "head_dim": 64}
DAC = {"model_type": "dac", "encoder_hidden_size": 8, "downsampling_ratios": [2, 8, 10, 12], "hidden_size": 128,
       "codebook_dim": 32}  # fmt: skip
QUERY_TOKENS = 14


def emit(name: str, value: float, unit: str, note: str, bound: float | None = None) -> None:
    """One line of a benchmark; a row without a bound is printed for its own sake."""
    line = {"name": name, "file": "tests/bench/bench_embed.py", "value": round(value, 5), "bound": bound,
            "sense": "min", "unit": unit, "note": note}  # fmt: skip
    print(json.dumps(line), flush=True)


def save_checkpoint(folder: Path, large: bool) -> None:
    """A PE-AV with random weights: the library's default shapes, or small ones."""
    transformers = import_transformers()
    n_words = save_tokenizer(folder)
    text: dict[str, Any] = {"model_type": "modernbert", "vocab_size": n_words, "pad_token_id": 0}
    towers: dict[str, Any] = {}
    if not large:
        text |= {"hidden_size": 192, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 3}
        vision = {"model_type": "timm_wrapper", "architecture": "vit_pe_core_large_patch14_336", "num_classes": 192,
                  "do_pooling": True, "global_pool": "map",
                  "model_args": {"embed_dim": 192, "depth": 3, "num_heads": 3}}  # fmt: skip
        audio = {"model_type": "pe_audio_encoder", **SMALL, "dac_config": DAC}
        video = {"model_type": "pe_video_encoder", **SMALL, "vision_config": vision}
        towers = {"audio_video_config": {**SMALL, "audio_config": audio, "video_config": video}}
    config = transformers.PeAudioVideoConfig(text_config=text, **towers)
    network = transformers.PeAudioVideoModel(config)
    network = network.to(torch.bfloat16) if large else random_weights(network, seed=0)
    network.save_pretrained(folder)
    for processor in pe_av_processors():
        processor.save_pretrained(folder)


def stage_batch(clips: ClipBatch) -> dict[str, np.ndarray]:
    """Clips as the decoding step hands them over."""
    n_clips = len(clips["cell"])
    unit = WorkUnit(Video("a.mp4", "tag", 1, datetime.now(UTC), "c"), "key", 0, n_clips)
    texts = {"unit": work_unit_to_json(unit), "media": media_to_json(MediaInfo()), "outcome": "", "text": ""}
    same = {name: np.full(n_clips, text, dtype=object) for name, text in texts.items()}
    return {**same, "decoded_at_us": np.zeros(n_clips, np.int64), **clips}  # type: ignore[dict-item]


def bare_call(encoder: Encoder, clips: ClipBatch, batch_size: int, device: str) -> Callable[[], None]:
    """The network alone, on normalised tensors that lie where it computes."""
    network: Any = encoder._network  # type: ignore[attr-defined]
    dtype = next(network.parameters()).dtype
    frames = (torch.from_numpy(clips["frames"]).float() / 127.5 - 1).movedim(-1, 2).to(device, dtype)
    sounds = torch.from_numpy(clips["waveform"])[:, None].to(device, dtype)

    @torch.inference_mode()
    def run() -> None:
        for at in range(0, len(frames), batch_size):
            part = slice(at, at + batch_size)
            network.get_audio_video_embeds(
                input_values=sounds[part], pixel_values_videos=frames[part], return_audio_embeds=True,
                return_video_embeds=True,
            )  # fmt: skip
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def least(runs: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """Seconds of each, the least of the rounds in which they take turns; the first round warms up."""
    best = dict.fromkeys(runs, float("inf"))
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = clock()
            run()
            if number:
                best[name] = min(best[name], clock() - started)
    return best


def bench_stage(folder: Path, n_clips: int, rounds: int) -> None:
    """CPU seconds of the network over those of the stage."""
    config = EmbedConfig(model=str(folder), batch_size=4)
    step = EmbedClips(config, 0.0, load_encoder(config).fingerprint)
    clips = random_clips(step.encoder.clip_spec, [10.0] * n_clips)
    batch = stage_batch(clips)
    runs = {"bare": bare_call(step.encoder, clips, 4, "cpu"), "stage": lambda: step(batch) and None}
    best = least(runs, rounds, time.process_time)
    note = f"pe-av, 192 wide, 3 layers, 16 frames of 336 px, 10 s; {best['bare'] / n_clips:.3f} CPU s a clip bare"
    emit("embed.stage_efficiency", best["bare"] / best["stage"], "ratio", note, 0.95)


def bench_resize(folder: Path) -> None:
    """What our resize (swscale, bilinear) changes against the reference's (torchvision, antialiased): real frames."""
    import av

    from shotlake.decode.pictures import PictureFitter

    media = Path(__file__).parents[2].parent / "shared" / "media" / "bear-1280x720.mp4"
    if not media.exists():
        print("no ../shared/media: embed.resize_* are not measured", file=sys.stderr)
        return
    encoder = load_encoder(EmbedConfig(model=str(folder)))
    with av.open(str(media)) as container:
        frames = [frame for _, frame in zip(range(16), container.decode(video=0))]
    fit = PictureFitter(encoder.clip_spec, 1.0)
    ours = np.stack([fit(frame) for frame in frames])
    video = pe_av_processors()[1]
    whole = torch.from_numpy(np.stack([frame.to_ndarray(format="rgb24") for frame in frames])).movedim(-1, 1)
    pixels = video(whole, return_tensors="pt")["pixel_values_videos"][0]
    theirs = ((pixels * 0.5 + 0.5) * 255).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
    apart = np.abs(ours.astype(int) - theirs).mean()
    both = random_clips(encoder.clip_spec, [0.0, 0.0])
    both["frames"][0], both["frames"][1] = ours, theirs
    vectors = encoder.embed_clips(both)["visual"]
    note = "16 frames of 1280 x 720 to 336 x 336; decoding and colours by the same libav in both"
    emit("embed.resize_levels", float(apart), "levels of 255", note)
    emit("embed.resize_cosine", float(vectors[0] @ vectors[1]), "cosine", f"{note}; PE-AV with strong random weights")


def bench_text(rounds: int) -> None:
    """One query through a text tower of PE-AV's shape, one core."""
    transformers = import_transformers()
    config = transformers.PeAudioVideoConfig().text_config
    tower = transformers.AutoModel.from_config(config).eval()
    words = torch.randint(10, 1_000, (1, QUERY_TOKENS))
    seconds = []
    with torch.inference_mode():
        for _ in range(4 * rounds):
            started = time.perf_counter()
            tower(input_ids=words)
            seconds.append(time.perf_counter() - started)
    size = sum(weight.numel() for weight in tower.parameters()) / 1e6
    note = f"{QUERY_TOKENS} tokens, {size:.0f} M parameters in float32, one thread, p50 of {len(seconds)}"
    emit("embed.text_ms", 1000 * statistics.median(seconds), "ms", note)


def bench_gpu(folder: Path, n_clips: int, rounds: int) -> None:
    """Clips a second of stage and bare network, and how near they come to what the chip multiplies."""
    config = EmbedConfig(model=str(folder), batch_size=16)
    step = EmbedClips(config, 1.0, load_encoder(config).fingerprint)
    clips = random_clips(step.encoder.clip_spec, [10.0] * n_clips)
    batch, chip = stage_batch(clips), torch.cuda.get_device_name()
    bare = bare_call(step.encoder, clips, 16, "cuda")
    best = least({"bare": bare, "stage": lambda: step(batch) and None}, rounds, time.perf_counter)
    with FlopCounterMode(display=False) as counter:
        bare()
    matmul_s = _matmul_rate(8192)
    rate = n_clips / best["stage"]
    note = f"pe-av default shapes, bfloat16, {n_clips} clips, {chip}, matmul {matmul_s / 1e12:.0f} TFLOP/s measured"
    emit("embed.gpu_efficiency", best["bare"] / best["stage"], "ratio", note, 0.90)
    emit("embed.gpu_mfu", counter.get_total_flops() / best["stage"] / matmul_s, "ratio", note)
    emit("embed.gpu_clips_per_s", rate, "clips/s", note)
    emit("embed.video_hours_per_gpu_hour", rate * step.encoder.clip_spec.window_us / 1e6, "h/h", note)


def _matmul_rate(size: int) -> float:
    """FLOP a second of a large bfloat16 product."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(20):
        torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def main() -> None:
    """Print every row that this machine can measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    large = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(sys.stderr):  # transformers prints about its own docstrings
            save_checkpoint(Path(folder), large=False)
        bench_resize(Path(folder))
        bench_stage(Path(folder), options.clips, options.rounds)
    bench_text(options.rounds)
    if large:
        with tempfile.TemporaryDirectory() as folder:
            save_checkpoint(Path(folder), large=True)
            bench_gpu(Path(folder), 8 * options.clips, options.rounds)
    else:
        print("no GPU here: embed.gpu_* are not measured", file=sys.stderr)


if __name__ == "__main__":
    main()
