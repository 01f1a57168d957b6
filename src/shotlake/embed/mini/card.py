"""The card of a `mini` network: what it is, how it was trained, what it finds; one command writes it, a test holds it.

`BARS` is what a shipped network has to reach: at least, or for shuffled frames at most.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shotlake.embed.mini.evaluate import Scores, as_json, evaluate
from shotlake.embed.mini.files import find_weights, load_weights, read_header
from shotlake.embed.mini.text import Tokenizer

CARD_FILE = "CARD.md"
BARS = {
    "text_to_clip_r1": 0.95,
    "clip_to_text_r1": 0.95,
    "worst_motion_r1": 0.95,
    "reversed_r1": 0.90,
    "shuffled_r1": 0.45,
    "shuffled_sense": 0.60,
    "sound_p20": 0.97,
    "audio_space_sound_p20": 0.97,
    "visual_space_r1": 0.90,
}
AT_MOST = frozenset({"shuffled_r1", "shuffled_sense"})
_MEANING = {
    "text_to_clip_r1": "a whole caption finds its clip first",
    "clip_to_text_r1": "a clip finds its caption first among those of all combinations",
    "worst_motion_r1": "the same as the first row, for the motion that does worst",
    "reversed_r1": "a clip shown backwards finds the caption of the reversed motion first",
    "shuffled_r1": "the same with frames out of order: chance is 0.08 for one who sees no motion at all, "
    "0.58 for one who sees its kind (a line, an orbit, sizes) in a heap of frames and guesses the direction",
    "shuffled_sense": "out of order, the caption of its own direction beats that of the reverse: chance is 0.5",
    "sound_p20": "right sounds among the first 20 clips for words about sound only",
    "audio_space_sound_p20": "the same with vectors of the sound alone",
    "visual_space_r1": "vectors of the picture alone find the right one of 576 pictures",
}

_TEXT = """# mini

A fused audio-visual encoder for shotlake's rendered world: 2 s of video (16 frames of 48 px, 16 kHz mono) and English
captions to unit vectors of {dim} dimensions, with the picture's and the sound's own vectors in the same space.
{parameters:.2f} M parameters, {megabytes:.1f} MB as float16.

**It knows a toy world and nothing else**: one shape (8 colours x 6 shapes) with one of 12 motions and one of 8 sounds,
in {n_words} words. On real video its vectors are repeatable, and mean nothing.

## Training
{steps} steps of {n_processes} x {batch_size} clips ({clips:,}), rendered on the fly, never twice the same, seed {seed}.
Again: `python jobs/train_encoder.py OUT --steps {steps}`. The signal is the renderer's own truth: contrast with whole
and partial captions (several right answers a row), each clip against all one-attribute captions, and attribute heads
that were dropped afterwards; where a clip does not tell an attribute, every value of it was to be equally near. One
clip in ten each had no picture, no sound, silence, or was a short tail; one in sixteen each ran over a cut, or had its
frames out of order and no word for its motion. Of 4,608 combinations 633 (test) were in no batch and in no choice of a
checkpoint, and 230 more (validation) chose it. The training on clips out of order was added after an earlier network's
shuffled score on 200 test combinations had been seen, so the two shuffled rows are not untouched.

## Results
Gallery of {n_gallery:,} clips, one a combination; {n_queries} combinations that were never seen; seed {clip_seed}.
Regenerate: `python jobs/train_encoder.py --evaluate`.

| | value | bar | meaning |
|---|---|---|---|
{table}

R@1 by motion: {motions}.

## Limits
One object, plain backgrounds, captions of fixed phrases; no counting, no negation, no order ("then"). Unknown words are
left out with a warning. Clips under 0.6 s were not asked for their motion. A window with two scenes has no caption: it
was trained to be found last.

```json
{document}
```
"""


def write_card(folder: Path, seed: int = 2) -> dict[str, Any]:
    """Evaluate the network of a directory on the whole gallery and write its card; the numbers. Errors: BadModel."""
    path = find_weights(folder)
    model, vocabulary = load_weights(path)
    numbers = flat_numbers(evaluate(model, Tokenizer(vocabulary, model.shape.max_words), seed=seed))
    training = {"steps": 0, "n_processes": 0, "batch_size": 0, "seed": 0, **read_header(path)["training"]}
    rows = [
        f"| {name} | {numbers[name]:.3f} | {'<=' if name in AT_MOST else '>='} {bar:.2f} | {_MEANING[name]} |"
        for name, bar in BARS.items()
    ]
    text = _TEXT.format(
        **{name: training[name] for name in ("steps", "n_processes", "batch_size", "seed")},
        clips=training["steps"] * training["n_processes"] * training["batch_size"],
        dim=model.shape.dim,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=path.stat().st_size / 1e6,
        n_words=len(vocabulary),
        n_gallery=numbers["n_gallery"],
        n_queries=numbers["n_queries"],
        clip_seed=seed,
        table="\n".join(rows),
        motions=", ".join(f"{motion} {share:.3f}" for motion, share in numbers["motion_r1"].items()),
        document=json.dumps(numbers, indent=1),
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return numbers


def read_card(folder: Path) -> dict[str, Any]:
    """The numbers that a card states."""
    _, _, document = (folder / CARD_FILE).read_text(encoding="utf-8").partition("```json")
    return json.loads(document.partition("```")[0])


def flat_numbers(scores: Scores) -> dict[str, Any]:
    """The scores, rounded, with the worst motion beside them."""
    return {**as_json(scores), "worst_motion_r1": round(min(scores.motion_r1.values()), 3)}


def missed_bars(numbers: dict[str, Any]) -> list[str]:
    """The bars that these numbers do not reach; empty when the network may be shipped."""
    return [name for name, bar in BARS.items() if (numbers[name] > bar if name in AT_MOST else numbers[name] < bar)]
