"""English for what is shown: whole captions, captions that leave something out, one-attribute captions.

A caption is (text, claims): the text never says more than the claims, so truth is decided by the claims alone. Texts in
a `heard` voice are for training; an `unheard` voice uses sentence frames and phrases that training never sees.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from shotlake.world import words as lexicon
from shotlake.world.scenes import ATTRIBUTES, Shot, Shown, Thing, choose, draw_scene, with_value
from shotlake.world.sentences import SENTENCES, Sentences, Voice

_T = TypeVar("_T")


class Caption(NamedTuple):
    """A text and what it claims."""

    text: str
    claims: Shown


def words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return re.findall(r"[a-z0-9]+", text.lower())


GLUE = frozenset(
    words(
        "a an the there is are something that thing shape object sound with and of to you can see hear it in over "
        "while as then first after before followed by together"
    )
)
"""Words that hold a caption together and claim nothing."""


def write_caption(claims: Shown, rng: np.random.Generator, voice: Voice = "heard") -> Caption:
    """A text that says just these claims (one or two shots, none of them empty), phrased at random."""
    speaker = _Speaker(voice, rng)
    return Caption(_tidy(speaker.say_shot(claims[0]) if len(claims) == 1 else speaker.say_then(*claims)), claims)


def plain_caption(claims: Shown) -> Caption:
    """The same claims in the first and plainest words: 'a plain red circle moving left with a low tone'."""
    return write_caption(claims, np.random.default_rng(0), "plain")


def partial_caption(shown: Shown, rng: np.random.Generator) -> Caption | None:
    """A caption that claims a random part of what is shown, or all of one of two shots; None if nothing is shown."""
    shots = [shot for shot in shown if shot.things or shot.sounds]
    if not shots:
        return None
    if len(shots) == 2 and rng.random() < 0.4:
        return write_caption((choose(shots, rng),), rng)
    kept = shots if rng.random() < 0.5 else [choose(shots, rng)]
    return write_caption(tuple(_part_of(shot, rng) for shot in kept), rng)


def one_attribute_captions(rng: np.random.Generator) -> list[Caption]:
    """One caption for each single value of each attribute, in vocabulary order."""
    return [write_caption((claim_of(name, value),), rng) for name, values in ATTRIBUTES.items() for value in values]


def claim_of(attribute: str, value: str) -> Shot:
    """The claim of one value."""
    return Shot(sounds=(value,)) if attribute == "sound" else Shot((with_value(Thing(), attribute, value),))


def tuning_captions(count: int = 600, seed: int = 20_261) -> list[str]:
    """`count` different texts, half of them whole, half partial; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    texts: dict[str, None] = {}
    while len(texts) < count:
        shown = (draw_scene(rng).shot,)
        caption = write_caption(shown, rng) if len(texts) % 2 else partial_caption(shown, rng)
        if caption:
            texts.setdefault(caption.text)
    return list(texts)


def vocabulary() -> list[str]:
    """Every word that a caption in any voice can contain, sorted."""
    verbs = [
        verb
        for table in (lexicon.MOTION_WORDS, lexicon.UNHEARD_MOTIONS)
        for options in table.values()
        for verb in options
    ]
    phrases = [form for verb in verbs for form in verb]
    phrases += [
        text
        for table in (lexicon.SOUND_WORDS, lexicon.UNHEARD_SOUNDS, lexicon.COLOUR_WORDS)
        for texts in table.values()
        for text in texts
    ]
    phrases += [
        form
        for table in (lexicon.TEXTURE_WORDS, lexicon.SHAPE_WORDS)
        for forms in table.values()
        for pair in forms
        for form in pair
    ]
    phrases += [form for pair in lexicon.ANY_SHAPE for form in pair] + list(lexicon.COUNT_WORDS.values())
    frames = [frame for voice in SENTENCES.values() for name in Sentences.__slots__ for frame in getattr(voice, name)]
    phrases += [re.sub(r"{\w+}", " ", frame) for frame in frames]
    return sorted({*words(" ".join(phrases)), *GLUE})


@dataclass(frozen=True, slots=True)
class _Speaker:
    """Chooses among the words and frames of one voice; the plain voice always says the first."""

    voice: Voice
    rng: np.random.Generator

    @property
    def frames(self) -> Sentences:
        return SENTENCES[self.voice]

    def choose(self, options: Sequence[_T]) -> _T:
        return options[0] if self.voice == "plain" else choose(options, self.rng)

    def chance(self, share: float) -> bool:
        return self.voice != "plain" and self.rng.random() < share

    def say_then(self, first: Shot, second: Shot) -> str:
        """Two shots, one after the other."""
        if _same_but_motion(first, second) and not self.chance(0.3):
            picture = self.moving(first.things[0], self.frames.same_thing, then=second.things[0])
            return self.add_sounds(picture, first, inner=True)
        whole = all(len(shot.things) == 1 and shot.things[0].motion for shot in (first, second))
        if whole and self.chance(0.35):
            parts = [self.add_sounds(self.clause(shot.things[0]), shot, inner=True) for shot in (first, second)]
            return self.choose(self.frames.then_clauses).format(*parts)
        parts = [self.add_sounds(self.things(shot), shot, inner=True) for shot in (first, second)]
        return self.choose(self.frames.then).format(*parts, **{"is": _is(first)})

    def say_shot(self, shot: Shot) -> str:
        """One shot by itself."""
        if shot.things and all(thing.motion for thing in shot.things) and self.chance(0.35):
            clauses = [self.clause(thing) for thing in self.in_any_order(shot.things)]
            picture = clauses[0] if len(clauses) == 1 else self.choose(self.frames.while_).format(*clauses)
            return self.add_sounds(picture, shot, inner=True)
        if not shot.things:
            return self.choose(self.frames.sound_only).format(self.sounds(shot))
        ordered = replace(shot, things=self.in_any_order(shot.things))
        start = self.choose(self.frames.start) if not shot.sounds or self.chance(0.3) else "{0}"
        inner = start != "{0}"
        return self.add_sounds(start.format(self.things(ordered), **{"is": _is(ordered)}), shot, inner)

    def add_sounds(self, picture: str, shot: Shot, inner: bool) -> str:
        """What is seen with what is heard, either of which may be nothing."""
        if not shot.sounds or not picture:
            return picture or self.sounds(shot)
        frames = self.frames.inner_sound if inner else self.frames.with_sound
        return self.choose(frames).format(picture, self.sounds(shot))

    def sounds(self, shot: Shot) -> str:
        table = lexicon.UNHEARD_SOUNDS if self.voice == "unheard" else lexicon.SOUND_WORDS
        said = [self.choose(table[sound]) for sound in self.in_any_order(shot.sounds)]
        return said[0] if len(said) == 1 else self.choose(self.frames.two_sounds).format(*said)

    def things(self, shot: Shot) -> str:
        """A noun phrase for all things of the shot; empty if there are none."""
        said = [self.noun(thing) for thing in shot.things]
        return self.choose(self.frames.together).format(*said) if len(said) == 2 else "".join(said)

    def noun(self, thing: Thing) -> str:
        """'two red circles moving left', 'two red circles'."""
        return self.moving(thing, self.frames.noun) if thing.motion else self.noun_phrase(thing)

    def clause(self, thing: Thing) -> str:
        """'two red circles move left'."""
        return self.moving(thing, self.frames.clause)

    def moving(self, thing: Thing, frames: tuple[str, ...], then: Thing | None = None) -> str:
        """A thing and its motion, or the two motions that it has one after the other."""
        named = {"np": self.noun_phrase(thing), "is": "are" if _several(thing) else "is"}
        for number, motion in (("", thing.motion), ("2", then.motion if then else None)):
            if motion:
                verb = self.verb(motion)
                named |= {f"doing{number}": verb.doing, f"does{number}": verb.do if _several(thing) else verb.does}
        return self.choose(frames).format(**named)

    def verb(self, motion: str) -> lexicon.Verb:
        heard = lexicon.MOTION_WORDS[motion]
        return self.choose(lexicon.UNHEARD_MOTIONS.get(motion, heard) if self.voice == "unheard" else heard)

    def noun_phrase(self, thing: Thing) -> str:
        """'a striped red circle', 'two red circles with stripes', 'something red'."""
        colour = self.choose(lexicon.COLOUR_WORDS[thing.colour]) if thing.colour else ""
        before, after = self.choose(lexicon.TEXTURE_WORDS[thing.texture]) if thing.texture else ("", "")
        if thing.shape is None and thing.count is None:
            return " ".join(filter(None, ("something", before, "and" if before and colour else "", colour)))
        noun = self.choose(lexicon.SHAPE_WORDS[thing.shape] if thing.shape else lexicon.ANY_SHAPE)[_several(thing)]
        order = 0.0 if self.voice == "plain" else self.rng.random()
        adjectives = (before, colour) if order < 0.6 else (colour, before) if order < 0.8 else (colour,)
        tail = after if order >= 0.8 else ""
        return " ".join(filter(None, (lexicon.COUNT_WORDS[thing.count or 1], *adjectives, noun, tail)))

    def in_any_order(self, things: tuple[_T, ...]) -> tuple[_T, ...]:
        order = range(len(things)) if self.voice == "plain" else self.rng.permutation(len(things))
        return tuple(things[place] for place in order)


def _same_but_motion(first: Shot, second: Shot) -> bool:
    """True of one thing that changes how it moves, while the sound goes on."""
    if first.sounds != second.sounds or len(first.things) != 1 or len(second.things) != 1:
        return False
    before, after = first.things[0], second.things[0]
    return None not in (before.motion, after.motion) and replace(before, motion=after.motion) == after


def _several(thing: Thing) -> bool:
    return (thing.count or 1) > 1


def _is(shot: Shot) -> str:
    """The verb of 'there is', by what is named first."""
    return "are" if shot.things and _several(shot.things[0]) else "is"


def _part_of(shot: Shot, rng: np.random.Generator) -> Shot:
    """A random part, not empty. A count is claimed with a noun, since 'a circle' means one."""
    while True:
        sounds = tuple(sound for sound in shot.sounds if rng.random() < 0.5)
        things = tuple(_part_of_thing(thing, rng) for thing in shot.things if rng.random() < 0.75)
        part = Shot(tuple(thing for thing in things if thing != Thing()), sounds)
        if part != Shot():
            return part


def _part_of_thing(thing: Thing, rng: np.random.Generator) -> Thing:
    keep = rng.random(4) < 0.6
    part = replace(thing, count=None)
    for name, kept in zip(("colour", "texture", "shape", "motion"), keep, strict=True):
        part = part if kept else with_value(part, name, None)
    counted = part.shape is not None or (_several(thing) and rng.random() < 0.5)
    return replace(part, count=thing.count) if counted else part


def _tidy(text: str) -> str:
    """'an orange ring', and not 'the sound of a clicking sound'."""
    text = re.sub(r"the sound of ((?:a|the) (?:\w+ )?sound\b|the sound of)", r"\1", text)
    return re.sub(r"\ba (?=[aeiou])", "an ", text)
