"""What a `mini` network finds in the rendered world: the numbers of its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shotlake.embed.mini.exam import Examination, differences, embed_examples, embed_texts
from shotlake.embed.mini.examples import Examples, render_examples
from shotlake.embed.mini.labels import matches
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import INTACT, N_FRAMES, WINDOW_S, Damage, Window
from shotlake.world.foils import exchange_attribute
from shotlake.world.scenes import CAMERAS, COUNTS, MOTIONS, REVERSE, SOUNDS, Scene, Shot, Shown, choose, reversed_shown
from shotlake.world.words import SOUND_WORDS


def evaluate(
    model: MiniModel, tokenizer: Tokenizer, n_gallery: int = 10_000, n_each: int = 420, seed: int = 2
) -> dict[str, float]:
    """All numbers of the card, shares of 1."""
    exam = Examination(model, tokenizer, n_gallery, n_each, seed)
    return {
        "n_gallery": n_gallery,
        "n_each": n_each,
        **_retrieval(exam),
        **_choices(exam),
        **_time(exam),
        **_sounds(exam),
        **_conditions(exam),
    }


def _retrieval(exam: Examination) -> dict[str, float]:
    """Whole captions to clips, by kind, in heard and unheard words, and clips to whole captions."""
    names = {
        "combination_r1": "single",
        "held_pair_r1": "held pair",
        "counted_r1": "several",
        "binding_r1": "pair",
        "order_r1": "then",
    }
    found = {row: exam.found(exam.shown(name), exam.texts(exam.shown(name))) for row, name in names.items()}
    asked = [shown for name in names.values() for shown in exam.shown(name)]
    heard = np.concatenate(list(found.values())).mean()
    unheard = exam.found(asked, exam.texts(asked, "unheard")).mean()
    motions = [shown[0].things[0].motion for shown in exam.shown("single")]
    by_motion = {
        f"motion {motion}": float(found["combination_r1"][[m == motion for m in motions]].mean()) for motion in MOTIONS
    }
    told = exam.texts(exam.gallery.shown)
    best = (exam.gallery.vectors.fused[: len(asked)] @ told.T).argmax(1).tolist()
    named = [exam.gallery.shown[row] for row in best]
    back = [bool(matches([shown], [claim])) for shown, claim in zip(asked, named, strict=True)]
    return {
        **{name: float(flags.mean()) for name, flags in found.items()},
        "worst_motion_r1": min(by_motion.values()),
        **by_motion,
        "unheard_ratio": float(unheard / max(heard, 1e-9)),
        "text_to_clip_r1": float(heard),
        "clip_to_text_r1": float(np.mean(back)),
    }


def _choices(exam: Examination) -> dict[str, float]:
    """Forced choices between the caption of a clip and those that are false of it in one respect only."""
    pairs = exam.shown("pair")
    swapped = [(exchange_attribute(shown[0], choose(differences(shown[0]), exam.rng)),) for shown in pairs]
    then = exam.shown("then")
    counted = (*exam.shown("single")[: exam.n_each // 2], *exam.shown("several"))
    numbers = [[_counted(shown, count) for count in COUNTS] for shown in counted]
    clips = torch.cat([_fused_of(exam, "single")[: exam.n_each // 2], _fused_of(exam, "several")])
    scores = _scores(exam, clips, numbers)
    right = [shown[0].things[0].count for shown in counted]
    return {
        "binding_choice": _prefers(exam, "pair", pairs, swapped),
        "order_choice": _prefers(exam, "then", then, [shown[::-1] for shown in then]),
        "counting_choice": float(
            np.mean([COUNTS[int(best)] == count for best, count in zip(scores.argmax(1), right, strict=True)])
        ),
    }


def _fused_of(exam: Examination, name: str) -> Tensor:
    return exam.gallery.vectors.fused[exam.rows(name)]


def _scores(exam: Examination, clips: Tensor, options: Sequence[Sequence[Shown]]) -> Tensor:
    """[B, N] how near each clip is to each of its own N captions."""
    told = exam.plain([claim for claims in options for claim in claims]).view(len(options), len(options[0]), -1)
    return torch.einsum("bd,bnd->bn", clips, told)


def _prefers(exam: Examination, name: str, right: Sequence[Shown], wrong: Sequence[Shown]) -> float:
    scores = _scores(exam, _fused_of(exam, name), list(zip(right, wrong, strict=True)))
    return float((scores[:, 0] > scores[:, 1]).float().mean())


def _counted(shown: Shown, count: int) -> Shown:
    shot = shown[0]
    return (replace(shot, things=(replace(shot.things[0], count=count),)),)


def _time(exam: Examination) -> dict[str, float]:
    """Clips backwards, with frames out of order, and with one frame only."""
    windows = [w for w in exam.tests["single"] if w[0][0].things[0].motion in REVERSE]
    clips = render_examples(windows, exam.rng)
    turned = [reversed_shown(shown) for shown in clips.shown]
    told = exam.plain([*turned, *clips.shown, *exam.gallery.shown])
    backwards = _fused(exam, replace(clips, frames=clips.frames[:, ::-1].copy()))
    shuffled = _fused(exam, replace(clips, frames=np.stack([f[exam.rng.permutation(N_FRAMES)] for f in clips.frames])))
    static = _fused(exam, replace(clips, frames=np.repeat(clips.frames[:, 7:8], N_FRAMES, axis=1)))
    motions = [[_moving(shown, motion) for motion in MOTIONS] for shown in clips.shown]
    right = torch.tensor([MOTIONS.index(shown[0].things[0].motion or "") for shown in clips.shown])
    own, reverse = exam.plain(clips.shown), exam.plain(turned)
    return {
        "reversed_r1": float(((backwards @ told.T).argmax(1) == torch.arange(len(windows))).float().mean()),
        "shuffled_motion": float((_scores(exam, shuffled, motions).argmax(1) == right).float().mean()),
        "shuffled_sense": float(((shuffled * own).sum(1) > (shuffled * reverse).sum(1)).float().mean()),
        "static_motion": float((_scores(exam, static, motions).argmax(1) == right).float().mean()),
    }


def _fused(exam: Examination, examples: Examples) -> Tensor:
    return embed_examples(exam.model, examples).fused


def _moving(shown: Shown, motion: str) -> Shown:
    shot = shown[0]
    return (replace(shot, things=(replace(shot.things[0], motion=motion),)),)


def _sounds(exam: Examination) -> dict[str, float]:
    """Mean share of right sounds among the first 20 clips, over every phrase; and pictures alone."""
    asked = [(text, sound) for sound in SOUNDS for text in SOUND_WORDS[sound]]
    claims: list[Shown] = [(Shot(sounds=(sound,)),) for _, sound in asked]
    queries = embed_texts(exam.model, exam.tokenizer, [text for text, _ in asked])
    right = matches(exam.gallery.shown, claims).T
    vectors = exam.gallery.vectors

    def precision(clips: Tensor) -> float:
        best = (queries @ clips.T).topk(20).indices.numpy()
        return float(np.take_along_axis(right, best, axis=1).mean())

    seen = [(Shot(shown[0].things),) for shown in exam.shown("single")]
    best = (exam.texts(seen) @ vectors.visual.T).argmax(1).tolist()
    visual = [bool(matches([exam.gallery.shown[row]], [claim])) for row, claim in zip(best, seen, strict=True)]
    return {
        "sound_p20": precision(vectors.fused),
        "audio_space_sound_p20": precision(vectors.audio),
        "visual_space_r1": float(np.mean(visual)),
    }


def _conditions(exam: Examination) -> dict[str, float]:
    """The same scenes under a still and a moving camera, before and after codecs, and cut by a window's edge."""
    scenes = [window[0][0] for window in exam.tests["single"]][: exam.n_each]
    claims = [(scene.shot,) for scene in scenes]
    queries, seed = exam.texts(claims), int(exam.rng.integers(1 << 31))

    def r1(windows: Sequence[Window], damage: Damage = INTACT) -> float:
        return float(exam.found_instead(claims, queries, exam.embed(windows, damage, seed)).mean())

    def seen_by(cameras: Sequence[str]) -> list[Window]:
        return [((replace(scene, camera=cameras[n % len(cameras)]), WINDOW_S),) for n, scene in enumerate(scenes)]

    whole, others = seen_by(CAMERAS), exam.draw("single", "test combination", len(scenes))
    cut = [_straddle(window[0][0], other[0][0], exam.rng) for window, other in zip(whole, others, strict=True)]
    interior = r1(whole)
    return {
        "moving_camera_loss": r1(seen_by(CAMERAS[:1])) - r1(seen_by(CAMERAS[1:])),
        "codec_loss": r1(whole, Damage(crf=0, film=True)) - r1(whole, Damage(crf=35, bit_rate=64_000, film=True)),
        "cheap_codec_loss": interior - r1(whole, Damage(crf=35, bit_rate=64_000)),
        "letterbox_loss": interior - r1(whole, Damage(bars=0.25)),
        "straddling_ratio": r1(cut) / max(interior, 1e-9),
    }


def _straddle(scene: Scene, other: Scene, rng: np.random.Generator) -> Window:
    """The best window of a 2 s scene that the grid cuts in two holds half of it or more, before or after another."""
    seconds = rng.uniform(WINDOW_S / 2, 0.98 * WINDOW_S)
    parts = (scene, seconds), (other, WINDOW_S - seconds)
    return parts if rng.random() < 0.5 else parts[::-1]
