"""A training that is as small as one can be: what is asked of it is how it goes on, not what it learns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from shotlake.embed.mini.train import Plan

TINY = Plan(steps=4, text_steps=1, n_processes=1, batch_size=4, validate_every=2, validation_gallery=16)


@contextmanager
def few_texts() -> Iterator[None]:
    """Two imagined texts of each kind a step, where there are 24: reading them is nearly all of a small training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shotlake.embed.mini.train._TEXT_ROWS", 2)
        yield
