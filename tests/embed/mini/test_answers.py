"""Answers that are drawn from: those that were given to the same value under the same condition, else right ones."""

import numpy as np
import torch

from shotlake.embed.mini.answers import Answers
from shotlake.embed.mini.labels import FIELDS, Parts, parts_of
from shotlake.embed.mini.meaning import VALUE_SIZES, Named
from shotlake.world.scenes import SOUNDS, Shot, Shown, Thing

RED, BLUE = Thing("red", "plain", "star", "left", 1), Thing("blue", "plain", "star", "left", 1)
ALONE: Shown = (Shot((RED,), ("hiss",)),)
CUT: Shown = (Shot((RED,), ("hiss",)), Shot((RED,), ("hiss",)))
N_EACH = 20


def seconds(shown: list[Shown], first_s: float = 1.0) -> np.ndarray:
    return np.array([(first_s, 2 - first_s) if len(shots) == 2 else (2.0, 2.0) for shots in shown], np.float32)


def answered(truth: Parts, sureness: np.ndarray) -> Named:
    """Each thing's values are answered with this probability [N, 2]; sounds too."""
    n_clips = len(truth.n_shots)
    values = np.zeros((n_clips, 2, 2, sum(VALUE_SIZES)), np.float32)
    start = 0
    for number, size in enumerate(VALUE_SIZES):
        for place in np.ndindex(n_clips, 2, 2):
            values[*place, start + truth.values[*place, number] % size] = sureness[place[:2]]
        start += size
    columns = (values, truth.there * 0.9 + 0.05, truth.sounds * sureness[..., None], np.full(n_clips, 0.4))
    return Named(*(torch.from_numpy(np.asarray(column, np.float32)) for column in columns))


def draw(answers: Answers, shown: list[Shown], first_s: float = 1.0) -> Named:
    share = np.full(len(shown), 0.7, np.float32)
    return answers.draw(parts_of(shown), seconds(shown, first_s), share, np.random.default_rng(1))


def test_doubts_are_those_of_the_same_condition() -> None:
    shown = [ALONE] * N_EACH + [CUT] * N_EACH
    truth = parts_of(shown)
    sureness = np.where(truth.n_shots == 2, 0.5, 0.8)[:, None].repeat(2, 1)
    answers = Answers(answered(truth, sureness), truth, seconds(shown), np.random.default_rng(0))
    for shots, sure in ((ALONE, 0.8), (CUT, 0.5)):
        drawn = draw(answers, [shots] * 8)
        colours = drawn.values_NCTV[:, :, 0, : VALUE_SIZES[0]]
        torch.testing.assert_close(colours[..., FIELDS["colour"].index("red")], torch.full((8, 2), sure))
        torch.testing.assert_close(drawn.sounds_NCH[..., SOUNDS.index("hiss")], torch.full((8, 2), sure))
        torch.testing.assert_close(drawn.there_NCT, torch.tensor([0.95, 0.05]).expand(8, 2, 2))
        assert (drawn.share_N == 0.7).all()


def test_what_was_never_met_is_answered_rightly_and_what_was_met_elsewhere_as_there() -> None:
    shown = [ALONE] * N_EACH
    truth = parts_of(shown)
    answers = Answers(answered(truth, np.full((N_EACH, 2), 0.8)), truth, seconds(shown), np.random.default_rng(0))
    drawn = draw(answers, [(Shot((BLUE,), ("bell", "siren")),)])
    colours = drawn.values_NCTV[0, 0, 0, : VALUE_SIZES[0]]
    assert colours.sum() == colours[FIELDS["colour"].index("blue")] == 1.0
    assert sorted(torch.nonzero(drawn.sounds_NCH[0, 0])[:, 0].tolist()) == sorted(map(SOUNDS.index, ("bell", "siren")))
    red = draw(answers, [CUT]).values_NCTV[0, :, 0, FIELDS["colour"].index("red")]
    torch.testing.assert_close(red, torch.full((2,), 0.8))


def test_what_is_not_told_has_a_place_of_its_own() -> None:
    shown: list[Shown] = [(Shot((Thing("red", None, "star", None, 1),), ()),)] * N_EACH
    truth = parts_of(shown)
    answers = Answers(answered(truth, np.full((N_EACH, 2), 0.7)), truth, seconds(shown), np.random.default_rng(0))
    textures = draw(answers, shown[:1]).values_NCTV[0, 0, 0, VALUE_SIZES[0] : sum(VALUE_SIZES[:2])]
    torch.testing.assert_close(textures, torch.tensor([0.0, 0.0, 0.0, 0.0, 0.7]))
