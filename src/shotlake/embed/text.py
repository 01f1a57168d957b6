"""Texts on their way into a text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shotlake.embed.feed import Inputs
from shotlake.errors import QueryError


def check_texts(texts: Sequence[str]) -> None:
    """Errors: QueryError for a text without a word."""
    for text in texts:
        if not text.strip():
            raise QueryError("the query is empty; write what should be seen or heard")


def tokens(tokenizer: Any, texts: list[str], max_tokens: int, device: str, padding: bool | str = True) -> Inputs:
    """input_ids and attention_mask [Q, L] on the device, cut at `max_tokens`."""
    found = tokenizer(texts, padding=padding, truncation=True, max_length=max_tokens, return_tensors="pt")
    return {name: found[name].to(device) for name in ("input_ids", "attention_mask") if name in found}
