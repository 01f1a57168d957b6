"""Everyday queries for models that know the open world and ship none: an index measures its recall with them.

They are composed, not collected: who, doing what, where, and what is heard.
"""

from __future__ import annotations

from itertools import product

_WHO = (
    "a man", "a woman", "two people", "a child", "a crowd", "a dog", "a cat", "a bird", "a car", "a train",
)  # fmt: skip
_DOES = (
    "walking", "running", "standing still", "moving towards the camera", "seen from above", "in the dark",
)  # fmt: skip
_WHERE = (
    "on a street", "in a kitchen", "by the sea", "in a forest", "in an office", "on a stage", "in the snow",
)  # fmt: skip
_HEARD = (
    "applause", "music", "speech", "laughter", "an engine", "rain", "birdsong", "a bell", "footsteps", "silence",
)  # fmt: skip
_WITH = ("", " indoors", " outdoors", " far away", " growing louder")


def everyday_queries() -> list[str]:
    """520 queries of what is seen and where, of what is heard, and of both."""
    seen = [f"{who} {does} {where}" for who, does, where in product(_WHO, _DOES, _WHERE)]
    heard = [f"the sound of {sound}{place}" for sound, place in product(_HEARD, _WITH)]
    both = [f"{who} {where} with {sound}" for who, where, sound in zip(_WHO * 5, _WHERE * 8, _HEARD * 5)]
    return [*seen, *heard, *both]
