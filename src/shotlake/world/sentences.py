"""Sentence frames of three voices: the plainest words, those of training, and those that training never hears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Voice = Literal["plain", "heard", "unheard"]


@dataclass(frozen=True, slots=True)
class Sentences:
    """The frames of a voice: {0} and {1} are what the names say, in the order of time or of mention.

    A noun phrase fits everywhere, a clause has a verb that stands by itself; inner frames fit inside other frames.
    """

    noun: tuple[str, ...]  # {np} {doing} {does} {is}
    clause: tuple[str, ...]
    start: tuple[str, ...]  # {0} {is}
    together: tuple[str, ...]
    while_: tuple[str, ...]
    with_sound: tuple[str, ...]
    inner_sound: tuple[str, ...]
    two_sounds: tuple[str, ...]
    sound_only: tuple[str, ...]
    then: tuple[str, ...]
    then_clauses: tuple[str, ...]
    same_thing: tuple[str, ...]  # {np} and its two motions


SENTENCES: dict[Voice, Sentences] = {
    "plain": Sentences(
        noun=("{np} {doing}",),
        clause=(),
        start=("{0}",),
        together=("{0} and {1}",),
        while_=(),
        with_sound=("{0} with {1}",),
        inner_sound=("{0} with {1}",),
        two_sounds=("{0} and {1}",),
        sound_only=("{0}",),
        then=("{0}, then {1}",),
        then_clauses=(),
        same_thing=("{np} {doing}, then {doing2}",),
    ),
    "heard": Sentences(
        noun=("{np} {doing}", "{np} {doing}", "{np} that {is} {doing}", "{np} that {does}"),
        clause=("{np} {does}", "{np} {is} {doing}"),
        start=("{0}", "{0}", "{0}", "there {is} {0}", "you can see {0}"),
        together=("{0} and {1}", "{0} and {1}", "{0}, and {1}"),
        while_=("{0} while {1}", "{0} and {1}", "while {0}, {1}", "{0} as {1}"),
        with_sound=(
            "{0} with {1}",
            "{0} with {1}",
            "{0} and {1}",
            "{0}, {1}",
            "{0} to the sound of {1}",
            "{1} and {0}",
            "{1} with {0}",
            "{0}, and you can hear {1}",
        ),
        inner_sound=("{0} with {1}", "{0} to the sound of {1}"),
        two_sounds=("{0} and {1}", "{0} and {1}", "{0} over {1}", "{0} together with {1}"),
        sound_only=("{0}", "{0}", "the sound of {0}", "something with {0}", "you can hear {0}"),
        then=(
            "{0}, then {1}",
            "{0}, then {1}",
            "first {0}, then {1}",
            "{0} followed by {1}",
            "{1} after {0}",
            "after {0}, {1}",
            "{0} before {1}",
        ),
        then_clauses=("{0}, then {1}", "first {0}, then {1}", "{0} before {1}", "after {0}, {1}", "{1} after {0}"),
        same_thing=(
            "{np} {doing}, then {doing2}",
            "{np} first {doing}, then {doing2}",
            "{np} {does}, then {does2}",
            "{np} first {does}, then {does2}",
            "{np} {doing2} after {doing}",
        ),
    ),
    "unheard": Sentences(
        noun=("{np} {doing}", "{np} that {is} {doing}"),
        clause=("{np} {does}", "{np} {is} {doing}"),
        start=("you see {0}", "there you can see {0}"),
        together=("{0} together with {1}",),
        while_=("as {0}, {1}",),
        with_sound=("with {1}, {0}", "{0} together with {1}"),
        inner_sound=("{0} together with {1}",),
        two_sounds=("{0} with {1}", "{0}, and {1}"),
        sound_only=("{0}", "there you can hear {0}"),
        then=("first {0} and then {1}", "first there {is} {0}, and after that {1}", "there {is} {0}, followed by {1}"),
        then_clauses=("first {0} and then {1}", "{0}, and after that {1}"),
        same_thing=("{np} that {is} {doing} and then {doing2}", "first {np} {does} and then {does2}"),
    ),
}
