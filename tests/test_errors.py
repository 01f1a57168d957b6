"""Errors survive the way between workers, and their codes and exit statuses are what the documents say."""

from __future__ import annotations

import pickle
import re
from collections import Counter

import pytest

from shotlake import errors
from shotlake.errors import RETRYABLE_CODES, Policy, ShotlakeError


def tree(root: type[ShotlakeError] = ShotlakeError) -> list[type[ShotlakeError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


CLASSES = [kind for kind in tree() if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[ShotlakeError]) -> None:
    sent = kind("what was wrong: 3")
    got = pickle.loads(pickle.dumps(sent))
    assert (type(got), got.message, got.code, got.policy) == (kind, sent.message, sent.code, sent.policy)
    assert kind().message == ""


def test_codes_are_stable_names_and_unique() -> None:
    assert [kind.code for kind in CLASSES if not re.fullmatch("[a-z_]+", kind.code)] == []
    assert [code for code, count in Counter(kind.code for kind in CLASSES).items() if count > 1] == []
    assert all("code" in vars(kind) for kind in CLASSES)


def test_exit_statuses_are_those_of_the_command_line() -> None:
    expected = {errors.UsageError: 2, errors.PreflightError: 4}
    for kind in CLASSES:
        wanted = next((status for parent, status in expected.items() if issubclass(kind, parent)), 1)
        assert kind.exit_status == wanted, kind


def test_policies_follow_the_branch() -> None:
    for kind in CLASSES:
        if issubclass(kind, errors.MediaError | errors.EmbedError):
            assert kind.policy is Policy.RECORD, kind
        if issubclass(kind, errors.UsageError | errors.PreflightError | errors.CommitError | errors.IndexingError):
            assert kind.policy is Policy.ABORT, kind


def test_only_known_codes_are_tried_again() -> None:
    assert {kind.code for kind in CLASSES} >= RETRYABLE_CODES


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    named = set(re.findall(r"\b[A-Z][A-Za-z]+\b", (errors.__doc__ or "").split("\n\n")[1]))
    assert {kind.__name__ for kind in CLASSES} - named == set()
