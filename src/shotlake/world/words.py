"""The words for what the world shows: every value of every attribute in several ways.

Phrases in the `UNHEARD` tables are put together from words that the other tables use elsewhere; training never sees
them, and the card says how well they are understood.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """A motion in words: 'moving left', 'moves left', 'move left'."""

    doing: str
    does: str
    do: str


def _verbs(doing: str, does: str, do: str, *ways: str) -> tuple[Verb, ...]:
    return tuple(Verb(*(f"{form} {way}".strip() for form in (doing, does, do))) for way in ways)


def _ways(away: str) -> dict[str, tuple[Verb, ...]]:
    """Words for a direction, heard ones and one that is not."""
    drifts = _verbs("drifting", "drifts", "drift", f"to the {away}")
    heard = (
        _verbs("moving", "moves", "move", away, f"to the {away}")
        + _verbs("going", "goes", "go", f"to the {away}")
        + _verbs("drifting", "drifts", "drift", away)
        + _verbs("travelling", "travels", "travel", f"to the {away}")
    )
    return {"heard": heard, "unheard": drifts + _verbs("travelling", "travels", "travel", away)}


def _turns(sense: str, *verbs: tuple[str, str, str]) -> tuple[Verb, ...]:
    return tuple(verb for forms in verbs for verb in _verbs(*forms, sense))


_CIRCLES, _ORBITS = ("circling", "circles", "circle"), ("orbiting", "orbits", "orbit")
_SPINS, _ROTATES, _TURNS = (
    ("spinning", "spins", "spin"),
    ("rotating", "rotates", "rotate"),
    ("turning", "turns", "turn"),
)
_GOES_AROUND = ("going around", "goes around", "go around")

MOTION_WORDS: dict[str, tuple[Verb, ...]] = {
    "still": (
        *_verbs("standing", "stands", "stand", "still"),
        *_verbs("staying", "stays", "stay", "still", "in place"),
        Verb("not moving", "does not move", "do not move"),
    ),
    "left": _ways("left")["heard"],
    "right": _ways("right")["heard"],
    "up": (
        *_verbs("moving", "moves", "move", "up", "upwards"),
        *_verbs("going", "goes", "go", "up"),
        *_verbs("rising", "rises", "rise", ""),
        *_verbs("drifting", "drifts", "drift", "up"),
    ),
    "down": (
        *_verbs("moving", "moves", "move", "down", "downwards"),
        *_verbs("going", "goes", "go", "down"),
        *_verbs("sinking", "sinks", "sink", ""),
        *_verbs("drifting", "drifts", "drift", "down"),
    ),
    "circling clockwise": _turns("clockwise", _CIRCLES, _ORBITS, _GOES_AROUND),
    "circling counterclockwise": (
        *_turns("counterclockwise", _CIRCLES, _ORBITS, _GOES_AROUND),
        *_turns("anticlockwise", _CIRCLES),
    ),
    "spinning clockwise": _turns("clockwise", _SPINS, _ROTATES, _TURNS),
    "spinning counterclockwise": (
        *_turns("counterclockwise", _SPINS, _ROTATES, _TURNS),
        *_turns("anticlockwise", _SPINS),
    ),
    "growing": (*_verbs("growing", "grows", "grow", ""), *_verbs("getting", "gets", "get", "bigger", "larger")),
    "shrinking": (*_verbs("shrinking", "shrinks", "shrink", ""), *_verbs("getting", "gets", "get", "smaller")),
    "bouncing": (
        *_verbs("bouncing", "bounces", "bounce", "", "up and down"),
        *_verbs("jumping", "jumps", "jump", "up and down"),
    ),
    "swinging": (
        *_verbs("swinging", "swings", "swing", "", "from side to side"),
        *_verbs("swaying", "sways", "sway", "from side to side"),
    ),
    "blinking": (*_verbs("blinking", "blinks", "blink", ""), *_verbs("flashing", "flashes", "flash", "", "on and off")),
}

UNHEARD_MOTIONS: dict[str, tuple[Verb, ...]] = {
    "left": _ways("left")["unheard"],
    "right": _ways("right")["unheard"],
    "up": (*_verbs("drifting", "drifts", "drift", "upwards"), *_verbs("travelling", "travels", "travel", "up")),
    "down": (*_verbs("drifting", "drifts", "drift", "downwards"), *_verbs("travelling", "travels", "travel", "down")),
    "circling counterclockwise": _turns("anticlockwise", _ORBITS, _GOES_AROUND),
    "spinning counterclockwise": _turns("anticlockwise", _ROTATES, _TURNS),
    "growing": _verbs("getting", "gets", "get", "bigger and bigger"),
    "shrinking": _verbs("getting", "gets", "get", "smaller and smaller"),
    "bouncing": _verbs("jumping", "jumps", "jump", ""),
    "swinging": _verbs("swaying", "sways", "sway", ""),
    "blinking": _verbs("blinking", "blinks", "blink", "on and off"),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "red", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow",),
    "green": ("green",),
    "cyan": ("cyan", "cyan", "turquoise"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "pink": ("pink",),
    "brown": ("brown",),
    "white": ("white",),
    "grey": ("grey", "grey", "gray"),
    "black": ("black",),
}
TEXTURE_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "plain": (("plain", "without a pattern"), ("solid", "without a pattern")),
    "striped": (("striped", "with stripes"), ("stripy", "with stripes")),
    "dotted": (("dotted", "with dots"), ("spotted", "with spots")),
    "checked": (("checked", "with checks"), ("chequered", "with a checked pattern")),
}
"""As an adjective, and after the noun."""

SHAPE_WORDS: dict[str, tuple[tuple[str, str], ...]] = {
    "circle": (("circle", "circles"), ("disc", "discs")),
    "square": (("square", "squares"),),
    "triangle": (("triangle", "triangles"),),
    "star": (("star", "stars"),),
    "cross": (("cross", "crosses"), ("plus sign", "plus signs")),
    "ring": (("ring", "rings"), ("hoop", "hoops")),
    "heart": (("heart", "hearts"),),
    "crescent": (("crescent", "crescents"), ("crescent moon", "crescent moons")),
    "arrow": (("arrow", "arrows"),),
    "bar": (("bar", "bars"), ("stick", "sticks")),
}
"""One, and several."""

ANY_SHAPE = (("shape", "shapes"), ("object", "objects"), ("thing", "things"))

SOUND_WORDS: dict[str, tuple[str, ...]] = {
    "low tone": ("a low tone", "a low hum", "a deep tone"),
    "high tone": ("a high tone", "a high whistle", "a high pitched tone"),
    "beeps": ("beeps", "a beeping sound", "repeated beeps"),
    "hiss": ("a hiss", "hissing noise", "white noise"),
    "rising sweep": ("a rising sweep", "a rising tone", "a tone that rises"),
    "falling sweep": ("a falling sweep", "a falling tone", "a tone that falls"),
    "clicks": ("clicks", "a clicking sound", "repeated clicks"),
    "warble": ("a warble", "a warbling tone", "a wavering tone"),
    "bell": ("a bell", "a ringing bell", "the ringing of a bell"),
    "siren": ("a siren", "a wailing siren", "a two tone siren"),
    "rumble": ("a rumble", "a deep rumble", "rumbling noise"),
    "buzz": ("a buzz", "a buzzing sound", "a low buzz"),
}
UNHEARD_SOUNDS: dict[str, tuple[str, ...]] = {
    "low tone": ("a deep hum",),
    "high tone": ("a high pitched whistle",),
    "beeps": ("the sound of beeps",),
    "hiss": ("a hissing sound",),
    "rising sweep": ("a sweep that rises",),
    "falling sweep": ("a sweep that falls",),
    "clicks": ("the sound of clicks",),
    "warble": ("a warbling sound",),
    "bell": ("the sound of a bell",),
    "siren": ("the wailing of a siren",),
    "rumble": ("a low rumble",),
    "buzz": ("buzzing noise",),
}
COUNT_WORDS = {1: "a", 2: "two", 3: "three"}
