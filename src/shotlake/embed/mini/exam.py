"""A network in front of a gallery of clips that it was never trained on, and what can be asked of it.

Things, backgrounds (another world's) and random numbers are used nowhere in training. One gallery of all kinds of clips
serves every question; a hit is right if all that the query claims is so in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from shotlake.embed.mini.examples import Examples, as_tensors, render_examples
from shotlake.embed.mini.labels import matches
from shotlake.embed.mini.model import MiniModel
from shotlake.embed.mini.split import Part, drawer
from shotlake.embed.mini.text import Tokenizer
from shotlake.embed.mini.windows import INTACT, Damage, Kind, Window, choose_kind, draw_window
from shotlake.world.captions import plain_caption, write_caption
from shotlake.world.scenes import MOTIONS, Shot, Shown
from shotlake.world.sentences import Voice

TEST_WORLD = 2
_BATCH = 16  # fits the cache
_RENDERED = 256  # clips in memory at once
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Embedded:
    """Unit vectors [B, D] of B clips: of all there is, of the picture alone, of the sound alone."""

    fused: Tensor
    visual: Tensor
    audio: Tensor


@torch.inference_mode()
def embed_examples(model: MiniModel, examples: Examples) -> Embedded:
    """All clips, in small batches; the network is left in inference mode."""
    model.eval()
    pieces = []
    for start in range(0, len(examples.shown), _BATCH):
        tokens = model.tokens(*as_tensors(examples, slice(start, start + _BATCH)))
        views = (tokens, tokens.picture_only(), tokens.sound_only())
        pieces.append([F.normalize(model.project(model.fuse(view)), dim=-1) for view in views])
    return Embedded(*(torch.cat(space) for space in zip(*pieces, strict=True)))


@torch.inference_mode()
def embed_texts(model: MiniModel, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """[Q, D] unit vectors."""
    model.eval()
    chunks = [texts[start : start + _RENDERED] for start in range(0, len(texts), _RENDERED)]
    vectors = [model.say(model.text(*map(torch.from_numpy, tokenizer.ids(chunk)))) for chunk in chunks]
    return F.normalize(torch.cat(vectors), dim=-1)


def find_own(model: MiniModel, tokenizer: Tokenizer, texts: Sequence[str], clips_BD: Tensor) -> Flags:
    """[Q]: text q finds clip q first among all B clips (B >= Q)."""
    best = (embed_texts(model, tokenizer, texts) @ clips_BD.T).argmax(dim=1)
    return (best == torch.arange(len(texts))).numpy()


@dataclass(frozen=True, slots=True)
class Gallery:
    """Clips and their vectors."""

    shown: tuple[Shown, ...]
    vectors: Embedded


class Examination:
    """A network in front of a gallery of `n_gallery` clips, of which `n_each` of each tested kind are asked for."""

    def __init__(self, model: MiniModel, tokenizer: Tokenizer, n_gallery: int, n_each: int, seed: int) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.n_each, self.rng = n_each, np.random.default_rng([seed, 2])
        self.tests = {
            "single": self.draw("single", "test combination", 2 * n_each),
            "held pair": self.draw("single", "test pair", n_each),
            "several": self.draw("several", "test combination", n_each),
            "pair": self.draw("pair", "test combination", n_each),
            "then": self.draw("then", "test combination", n_each),
        }
        windows = [window for tested in self.tests.values() for window in tested]
        draw = drawer("train")
        while len(windows) < n_gallery:
            windows.append(draw_window(choose_kind(self.rng), draw, self.rng, TEST_WORLD, silent_ratio=0.05))
        self.gallery = self.embed(windows)

    def draw(self, kind: Kind, part: Part, n_windows: int) -> list[Window]:
        """Windows of the test; motions come evenly, and the cuts of "then" leave time to see them."""
        draw = drawer(part)
        windows: list[Window] = []
        while len(windows) < n_windows:
            window = draw_window(kind, draw, self.rng, TEST_WORLD)
            things = window[0][0].things
            fits = kind != "single" or things[0].motion == MOTIONS[len(windows) % len(MOTIONS)]
            fits &= kind != "pair" or len(differences(window[0][0].shot)) > 1
            if fits and all(seconds >= 0.6 for _, seconds in window):
                windows.append(window)
        return windows

    def embed(self, windows: Sequence[Window], damage: Damage = INTACT, seed: int | None = None) -> Gallery:
        """Render and embed; the same seed gives the same clips but for the damage."""
        rng = self.rng if seed is None else np.random.default_rng(seed)
        shown: list[Shown] = []
        vectors = []
        for start in range(0, len(windows), _RENDERED):
            examples = render_examples(windows[start : start + _RENDERED], rng, damage)
            shown += examples.shown
            vectors.append(embed_examples(self.model, examples))
        joined = (torch.cat([getattr(piece, space) for piece in vectors]) for space in ("fused", "visual", "audio"))
        return Gallery(tuple(shown), Embedded(*joined))

    def rows(self, name: str) -> slice:
        """Where the clips of a test are in the gallery."""
        start = 0
        for other, windows in self.tests.items():
            if other == name:
                return slice(start, start + len(windows))
            start += len(windows)
        raise KeyError(name)

    def shown(self, name: str) -> tuple[Shown, ...]:
        """What the clips of a test show."""
        return self.gallery.shown[self.rows(name)]

    def texts(self, claims: Sequence[Shown], voice: Voice = "heard") -> Tensor:
        """Vectors of captions of all that is claimed."""
        return embed_texts(self.model, self.tokenizer, [write_caption(claim, self.rng, voice).text for claim in claims])

    def plain(self, claims: Sequence[Shown]) -> Tensor:
        """The same in the plainest words."""
        return embed_texts(self.model, self.tokenizer, [plain_caption(claim).text for claim in claims])

    def found(self, claims: Sequence[Shown], queries: Tensor, gallery: Gallery | None = None) -> Flags:
        """[Q]: the first clip of the gallery shows all that is claimed."""
        gallery = gallery or self.gallery
        best = (queries @ gallery.vectors.fused.T).argmax(1).tolist()
        return np.array([bool(matches([gallery.shown[row]], [claim])) for row, claim in zip(best, claims, strict=True)])

    def found_instead(self, claims: Sequence[Shown], queries: Tensor, clips: Gallery) -> Flags:
        """[Q]: the same when these clips stand for all clips of tests in the gallery."""
        rest = slice(sum(map(len, self.tests.values())), None)
        fused = torch.cat([clips.vectors.fused, self.gallery.vectors.fused[rest]])
        empty = fused[:, :0]
        return self.found(
            claims, queries, Gallery((*clips.shown, *self.gallery.shown[rest]), Embedded(fused, empty, empty))
        )


def differences(shot: Shot) -> list[str]:
    """The attributes in which two things differ; if there is only one, exchanging it would say the same again."""
    first, second = shot.things
    return [name for name in ("colour", "texture", "shape", "motion") if getattr(first, name) != getattr(second, name)]
