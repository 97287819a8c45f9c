"""Order of resourceVersions: whole numbers of one resource group (KEP-5504), compared as such or not at all."""

from __future__ import annotations

# 128 bits have 39 digits; what is longer was not made by an API server.
_MAX_DIGITS = 39


def newer(one: str, other: str) -> bool | None:
    """Whether `one` is newer than `other`; None where either is no whole number, so that nobody guesses."""
    first, second = _number(one), _number(other)
    return None if first is None or second is None else first > second


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS else None
