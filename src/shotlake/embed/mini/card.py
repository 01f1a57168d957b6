"""The card of a `mini` network: what it is, how it was trained, what it finds; one command writes it, a test holds it.

`BARS` is what the network is asked to reach: at least, or for those in `AT_MOST` at most. Bars that are missed stay.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from shotlake.embed.mini.evaluate import evaluate
from shotlake.embed.mini.exam import TEST_WORLD
from shotlake.embed.mini.files import find_weights, load_weights, read_header
from shotlake.embed.mini.imagined import CAPTIONS_OF_GROUP, CLIPS_OF_GROUP
from shotlake.embed.mini.split import COMBINATION_SHARE, HELD_PAIRS, PAIR_SHARES
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.train import Plan
from shotlake.world.scenes import ATTRIBUTES

CARD_FILE = "CARD.md"
BARS = {
    "combination_r1": 0.95,
    "held_pair_r1": 0.90,
    "binding_r1": 0.85,
    "binding_choice": 0.97,
    "order_r1": 0.85,
    "order_choice": 0.97,
    "counting_choice": 0.90,
    "unheard_ratio": 0.90,
    "worst_motion_r1": 0.95,
    "reversed_r1": 0.90,
    "shuffled_motion": 0.45,
    "shuffled_sense": 0.60,
    "static_motion": 0.15,
    "sound_p20": 0.97,
    "audio_space_sound_p20": 0.97,
    "moving_camera_loss": 0.05,
    "codec_loss": 0.02,
    "straddling_ratio": 0.90,
    "direction_gap": 0.05,
}
AT_MOST = frozenset(
    {"shuffled_motion", "shuffled_sense", "static_motion", "moving_camera_loss", "codec_loss", "direction_gap"}
)
_MEANING = {
    "combination_r1": "one thing, in a combination never seen: its whole caption finds its clip first",
    "held_pair_r1": "one thing that holds a pair of values never seen together",
    "binding_r1": "two kinds of things, two or three in all",
    "binding_choice": "the caption beats the one in which the two have exchanged an attribute",
    "order_r1": "two shots in one window, or one thing that changes its motion",
    "order_choice": "the caption beats the one with the shots exchanged",
    "counting_choice": "the right one of 'a', 'two' and 'three' of the same",
    "unheard_ratio": "R@1 with sentence frames and phrases never seen, over R@1 with those of training",
    "worst_motion_r1": "the first row, for the motion that does worst",
    "reversed_r1": "a clip shown backwards finds the caption of the reversed motion, among those of the whole gallery",
    "shuffled_motion": "frames out of order, the right one of 14 motions; chance is 0.07 for one who sees no motion, "
    "0.5 for one who sees its kind in a heap of frames and guesses the direction",
    "shuffled_sense": "out of order, the own direction beats its reverse; chance is 0.5",
    "static_motion": "with one frame only, the right one of 14 motions; chance is 0.07",
    "sound_p20": "right sounds among the first 20 clips for words about sound only",
    "audio_space_sound_p20": "the same with vectors of the sound alone",
    "moving_camera_loss": "R@1 of clips from a still camera less that of the same things from a moving one",
    "codec_loss": "R@1 lost by H.264 at crf 35 and AAC at 64 kbit/s",
    "straddling_ratio": "R@1 of scenes that fill half of the window or more, over that of scenes that fill it",
    "direction_gap": "text to clip R@1 less that of clip to text, over all five kinds",
}

_TEXT = """# mini

A fused audio-visual encoder for shotlake's rendered world: 2 s of video (16 frames of 48 px, 16 kHz mono) and English
captions to unit vectors of {dim} dimensions, with the picture's and the sound's own vectors in the same space.
{parameters:.2f} M parameters, {megabytes:.1f} MB as float16.

**It knows a rendered world and nothing else** ({sizes}):
one to three things with up to two sounds, before painted backgrounds, in {n_words} words. On real video its vectors are
repeatable, and mean nothing.

## Training
{text_steps} steps with captions alone, then {clip_steps} of {n_processes} x {batch_size} clips ({clips:,}), rendered on
the fly, none twice, seed {seed}. Again: `python jobs/train_encoder.py OUT --text-steps {text_steps} --steps {planned}`.
{note}{meaning}

The signal is the renderer's own truth: contrast with whole and partial captions (several right answers a row), with a
foil that is false in one respect, with the captions of single values, and heads that name the two things and the sounds
of a clip's beginning and of its end, whichever of two states stands for which thing; they were dropped afterwards.
Clips without picture or sound, short tails, cuts anywhere, frames out of order, black edges and codecs were part of it.

Never in training: {pair_share:.0%} of the pairs of {pairs},
{combination_share:.0%} of all combinations (both for the card), and {validation_share:.0%} of the pairs (for
validation, which chose the checkpoint). The card's clips are of another seed, before backgrounds of world {world}.

## Results
Gallery of {n_gallery:,} clips of all kinds; {n_each} queries a kind (twice as many of single things), all of things
that were never seen. Regenerate: `python jobs/train_encoder.py --evaluate`.

| | value | bar | | meaning |
|---|---|---|---|---|
{table}

R@1 of binding and order says little by itself, since a gallery of random scenes seldom holds the twin of one; the
choices ask for it. Without a bar: {others}.

R@1 by motion: {motions}.

## Limits
What it was not asked: negation, more than three things, more than two shots, places ("above"), who hides whom. Unknown
words are read by their spelling where it is like known ones, else left out, with a warning. Shots under 0.6 s were not
asked for their motion. Colours are those of a screen under an even, slowly changing light.

```json
{document}
```
"""


_MEANING_TEXT = """

Then what makes a vector of the states was learnt anew, while towers, fusion and captions rested: {naming_steps} steps
in which {n_kept:,} clips of the same kind and captions of them, read once, are named (things, sounds, how long the
first shot is), and {steps} of {n_clips} clips and about {n_captions} captions each that were only imagined, as numbers:
scenes, near misses of them, and these behind each other. What is said of them is drawn from what was said of kept clips
that the naming had not learnt from. Again: `python jobs/train_encoder.py OUT --meaning-of BEFORE`."""


def _meaning_text(training: dict[str, Any]) -> str:
    """What the second training was, if there was one."""
    if "meaning" not in training:
        return ""
    meaning = training["meaning"]
    sizes = {"n_clips": meaning["n_groups"] * CLIPS_OF_GROUP, "n_captions": meaning["n_groups"] * CAPTIONS_OF_GROUP}
    return _MEANING_TEXT.format(**meaning, **sizes)


def write_card(folder: Path, **sizes: int) -> dict[str, Any]:
    """Evaluate the network of a directory and write its card; the numbers. Errors: BadModel.

    `sizes` are those of `evaluate`.
    """
    path = find_weights(folder)
    model, vocabulary = load_weights(path)
    numbers = rounded(evaluate(model, Tokenizer(vocabulary, model.shape.max_words), **sizes))
    training = {**asdict(Plan()), "step": 0, "note": "", **read_header(path)["training"]}
    motions = {name: value for name, value in numbers.items() if name.startswith("motion ")}
    others = {name: value for name, value in numbers.items() if name not in {*BARS, *motions, "n_gallery", "n_each"}}
    text = _TEXT.format(
        **{name: training[name] for name in ("n_processes", "batch_size", "seed")},
        text_steps=training["text_steps"],
        clip_steps=training["step"] - training["text_steps"],
        note=training["note"],
        meaning=_meaning_text(training),
        planned=training["steps"],
        clips=(training["step"] - training["text_steps"]) * training["n_processes"] * training["batch_size"],
        dim=model.shape.vector_dim,
        parameters=sum(parameter.numel() for parameter in model.parameters()) / 1e6,
        megabytes=path.stat().st_size / 1e6,
        sizes=", ".join(f"{len(values)} {name}s" for name, values in ATTRIBUTES.items()),
        n_words=len(vocabulary),
        pair_share=PAIR_SHARES["test pair"],
        validation_share=PAIR_SHARES["validation"],
        pairs=", ".join(" and ".join(names) for names in HELD_PAIRS),
        combination_share=COMBINATION_SHARE,
        world=TEST_WORLD,
        n_gallery=numbers["n_gallery"],
        n_each=numbers["n_each"],
        table="\n".join(_row(name, numbers[name]) for name in BARS),
        others=", ".join(f"{name} {value:.3f}" for name, value in others.items()),
        motions=", ".join(f"{name.removeprefix('motion ')} {share:.3f}" for name, share in motions.items()),
        document=json.dumps(numbers, indent=1),
    )
    (folder / CARD_FILE).write_text(text, encoding="utf-8")
    return numbers


def _row(name: str, value: float) -> str:
    sense, met = ("<=" if name in AT_MOST else ">="), "met" if _is_met(name, value) else "**missed**"
    return f"| {name} | {value:.3f} | {sense} {BARS[name]:.2f} | {met} | {_MEANING[name]} |"


def read_card(folder: Path) -> dict[str, Any]:
    """The numbers that a card states."""
    _, _, document = (folder / CARD_FILE).read_text(encoding="utf-8").partition("```json")
    return json.loads(document.partition("```")[0])


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    """To a tenth of a per cent, with the gap between both directions of search beside them."""
    gap = numbers["text_to_clip_r1"] - numbers["clip_to_text_r1"]
    return {name: round(value, 3) for name, value in {**numbers, "direction_gap": gap}.items()}


def missed_bars(numbers: dict[str, Any]) -> list[str]:
    """The bars that these numbers do not reach."""
    return [name for name in BARS if not _is_met(name, numbers[name])]


def _is_met(name: str, value: float) -> bool:
    return value <= BARS[name] if name in AT_MOST else value >= BARS[name]
