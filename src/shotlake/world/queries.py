"""Questions about a painted archive, and whether an answer agrees with the truth.

A `motion` query is decided by direction: the archive also shows the same colour and shape the other way around. A
`sound` query is decided by sound: it names nothing else, or the archive has the same picture with another sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from shotlake.world.archive import Truth
from shotlake.world.captions import plain_caption, write_caption
from shotlake.world.scenes import REVERSE, Shot, Thing, draw_sounds, draw_thing, holds, reversed_shown

Kind = Literal["motion", "sound", "full", "part"]

_ENOUGH_US = 1_000_000


@dataclass(frozen=True, slots=True)
class WorldQuery:
    """A question, what an answer must show, and what decides it."""

    text: str
    wanted: Shot
    kind: Kind


def draw_queries(truth: Truth, seed: int, n: int) -> list[WorldQuery]:
    """`n` different questions that the intact videos answer: 3 in 8 by motion, 2 in 8 by sound, the rest by everything.

    Errors: ValueError if the archive is too small for `n` different ones.
    """
    rng = np.random.default_rng([truth.seed, seed])
    shown = _shown_scenes(truth)
    pools: dict[Kind, list[Shot]] = {
        "motion": [Shot(shot.things) for shot in shown if _has_reverse(shot, shown)],
        "sound": [Shot(sounds=shot.sounds) for shot in shown if shot.sounds]
        + [shot for shot in shown if _has_other_sound(shot, shown)],
        "full": [shot for shot in shown if shot.things and shot.sounds],
        "part": [_colour_and_shape(shot) for shot in shown if shot.things],
    }
    kinds: list[Kind] = ["motion", "sound", "full", "motion", "full", "sound", "part", "motion"]
    queries: dict[Shot, WorldQuery] = {}
    for _ in range(50 * n):
        if len(queries) == n:
            break
        kind = kinds[len(queries) % len(kinds)]
        if pools[kind]:
            wanted = pools[kind][int(rng.integers(len(pools[kind])))]
            text = write_caption((wanted,), rng).text
            queries.setdefault(wanted, WorldQuery(text, wanted, kind))
    else:
        raise ValueError(f"an archive of {len(truth.videos)} videos has no {n} different queries; paint more videos")
    return list(queries.values())


def draw_absent(truth: Truth, seed: int, n: int) -> list[WorldQuery]:
    """Questions like `n` drawn ones with other things and sounds, of which nothing in the archive shows what they ask.

    What two scenes behind each other show together counts as shown: a segment may hold the cut.
    """
    rng = np.random.default_rng([truth.seed, seed, 1])
    shown = _shown_anywhere(truth)
    absent: dict[Shot, WorldQuery] = {}
    for query in draw_queries(truth, seed, n):
        for _ in range(100):
            other = _other_values(query.wanted, rng)
            if other not in absent and not any(holds((other,), (shot,)) for shot in shown):
                absent[other] = WorldQuery(write_caption((other,), rng).text, other, query.kind)
                break
    return list(absent.values())


def reversed_query(query: WorldQuery) -> WorldQuery:
    """The same question with the opposite direction. Errors: ValueError if its motion has no reverse."""
    (turned,) = reversed_shown((query.wanted,))
    if turned == query.wanted:
        raise ValueError(f"{query.text!r} asks for no motion that has a reverse; draw one of kind 'motion'")
    return WorldQuery(plain_caption((turned,)).text, turned, query.kind)


def agrees(query: WorldQuery, uri: str, start_us: int, end_us: int, truth: Truth) -> bool:
    """True if scenes that show all that is wanted fill at least half of the hit, or a second of it.

    `uri` is a video's path below the root, or any uri that ends with it.
    """
    video = next((video for video in truth.videos if f"/{uri}".endswith(f"/{video.path}")), None)
    if video is None or end_us <= start_us:
        return False
    right_us = sum(
        max(0, min(end_us, span.end_us) - max(start_us, span.start_us))
        for span in video.spans
        if holds((query.wanted,), (video.shown(span.scene),))
    )
    return right_us >= min(_ENOUGH_US, (end_us - start_us) / 2)


def _shown_scenes(truth: Truth) -> list[Shot]:
    """What each scene of each intact video shows."""
    return [video.shown(span.scene) for video in truth.videos if not video.fault for span in video.spans]


def _shown_anywhere(truth: Truth) -> list[Shot]:
    """What each scene and each two behind each other show, of damaged videos too."""
    shown = []
    for video in truth.videos:
        shots = [video.shown(span.scene) for span in video.spans] if video.fault != "not_media" else []
        shown += shots
        shown += [Shot(a.things + b.things, a.sounds + b.sounds) for a, b in pairwise(shots)]
    return shown


def _other_values(wanted: Shot, rng: np.random.Generator) -> Shot:
    """As many things and sounds, of which as much is said, with other values."""
    things = tuple(_said_of(thing, draw_thing(rng, thing.count or 1)) for thing in wanted.things)
    return Shot(things, draw_sounds(rng, double_ratio=1.0)[: len(wanted.sounds)])


def _said_of(like: Thing, thing: Thing) -> Thing:
    unsaid = {field.name: None for field in fields(Thing) if getattr(like, field.name) is None}
    return replace(thing, **unsaid)


def _colour_and_shape(shot: Shot) -> Shot:
    return Shot(tuple(replace(thing, texture=None, motion=None) for thing in shot.things[:1]))


def _has_reverse(shot: Shot, shown: Sequence[Shot]) -> bool:
    """True if another scene shows just this one thing the other way around."""
    if len(shot.things) != 1 or shot.things[0].motion not in REVERSE:
        return False
    (turned,) = reversed_shown((Shot(shot.things),))
    return any(candidate.things == turned.things for candidate in shown)


def _has_other_sound(shot: Shot, shown: Sequence[Shot]) -> bool:
    """True if another scene shows the same things with another sound."""
    if not shot.things or not shot.sounds:
        return False
    same = (candidate for candidate in shown if candidate.things == shot.things)
    return any(set(candidate.sounds) - set(shot.sounds) for candidate in same)
