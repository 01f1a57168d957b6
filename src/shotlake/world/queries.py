"""Questions about a painted archive, and whether an answer agrees with the truth.

A `motion` query is decided by direction: the archive also shows the same colour and shape the other way around. A
`sound` query is decided by sound: it names nothing else, or the archive has the same picture with another sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from shotlake.world.archive import Truth
from shotlake.world.captions import plain_caption, write_caption
from shotlake.world.scenes import REVERSE

Kind = Literal["motion", "sound", "full", "part"]
Shown = tuple[tuple[str, str], ...]

_PICTURE = ("colour", "shape", "motion")
_ENOUGH_US = 1_000_000


@dataclass(frozen=True, slots=True)
class WorldQuery:
    """A question, what an answer must show (attribute, value), and what decides it."""

    text: str
    wanted: Shown
    kind: Kind


def draw_queries(truth: Truth, seed: int, n: int) -> list[WorldQuery]:
    """`n` different questions that the intact videos answer: 3 in 8 by motion, 2 in 8 by sound, the rest by everything.

    Errors: ValueError if the archive is too small for `n` different ones.
    """
    rng = np.random.default_rng([truth.seed, seed])
    shown = _shown_scenes(truth)
    pools: dict[Kind, list[Shown]] = {
        "motion": [_only(scene, _PICTURE) for scene in shown if _has_reverse(scene, shown)],
        "sound": [_only(scene, ("sound",)) for scene in shown if "sound" in scene]
        + [tuple(scene.items()) for scene in shown if _has_other_sound(scene, shown)],
        "full": [tuple(scene.items()) for scene in shown if len(scene) == 4],
        "part": [_only(scene, ("colour", "shape")) for scene in shown if "shape" in scene],
    }
    kinds: list[Kind] = ["motion", "sound", "full", "motion", "full", "sound", "part", "motion"]
    queries: dict[str, WorldQuery] = {}
    for _ in range(50 * n):
        if len(queries) == n:
            break
        kind = kinds[len(queries) % len(kinds)]
        if pools[kind]:
            wanted = pools[kind][int(rng.integers(len(pools[kind])))]
            text = write_caption(dict(wanted), rng).text
            queries.setdefault(text, WorldQuery(text, wanted, kind))
    else:
        raise ValueError(f"an archive of {len(truth.videos)} videos has no {n} different queries; paint more videos")
    return list(queries.values())


def reversed_query(query: WorldQuery) -> WorldQuery:
    """The same question with the opposite direction. Errors: ValueError if its motion has no reverse."""
    claims = dict(query.wanted)
    if claims.get("motion") not in REVERSE:
        raise ValueError(f"{query.text!r} asks for no motion that has a reverse; draw one of kind 'motion'")
    claims["motion"] = REVERSE[claims["motion"]]
    return WorldQuery(plain_caption(claims).text, tuple(claims.items()), query.kind)


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
        if set(query.wanted) <= set(video.shown(span.scene).items())
    )
    return right_us >= min(_ENOUGH_US, (end_us - start_us) / 2)


def _shown_scenes(truth: Truth) -> list[dict[str, str]]:
    """What each scene of each intact video shows."""
    return [video.shown(span.scene) for video in truth.videos if not video.fault for span in video.spans]


def _only(scene: dict[str, str], names: tuple[str, ...]) -> Shown:
    return tuple((name, scene[name]) for name in names)


def _has_reverse(scene: dict[str, str], shown: list[dict[str, str]]) -> bool:
    if scene.get("motion") not in REVERSE:
        return False
    other = {**scene, "motion": REVERSE[scene["motion"]]}
    return any(all(candidate.get(name) == other[name] for name in _PICTURE) for candidate in shown)


def _has_other_sound(scene: dict[str, str], shown: list[dict[str, str]]) -> bool:
    if len(scene) < 4:
        return False
    same = (candidate for candidate in shown if all(candidate.get(name) == scene[name] for name in _PICTURE))
    return any(candidate.get("sound", scene["sound"]) != scene["sound"] for candidate in same)
