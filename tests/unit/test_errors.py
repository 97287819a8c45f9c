"""Errors by consequence: the tree of the docstring is the tree of the classes."""

from __future__ import annotations

import inspect

import pytest

from app import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.ReverserError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_a_reason_fit_for_a_condition(cls: type[errors.ReverserError]) -> None:
    """A reason is one CamelCase word; a class brings its own, and a raiser may be more exact."""
    error = cls("push refused; will try again")
    assert error.reason.isalpha()
    assert error.reason[0].isupper()
    assert (error.message, str(error)) == ("push refused; will try again", "push refused; will try again")
    assert cls("x", reason="HookRefused").reason == "HookRefused"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_has_exactly_one_consequence(cls: type[errors.ReverserError]) -> None:
    """Tried again soon, stalled until a person acts, or never again: no class says two of them."""
    consequences = (errors.TemporaryError, errors.StalledError, errors.PermanentError)
    expected = 0 if cls is errors.ReverserError else 1
    assert sum(issubclass(cls, consequence) for consequence in consequences) == expected


@pytest.mark.parametrize("cls", CLASSES)
def test_the_docstring_draws_every_class(cls: type[errors.ReverserError]) -> None:
    """Who reads the module sees the whole tree."""
    assert f"{cls.__name__} " in (errors.__doc__ or "").replace("\n", " ")


def test_a_temporary_error_says_when_to_try_again() -> None:
    """The delay is in seconds, a second unless the raiser knows better."""
    assert errors.TemporaryError("x").delay == 1.0
    assert errors.RemoteMovedError("x", delay=30.0).delay == 30.0


def test_a_trace_says_where_and_never_what() -> None:
    """An unforeseen error may quote an object; its trace is files and lines alone."""
    with pytest.raises(ValueError, match="canary") as caught:
        int("canary")
    trace = errors.trace(caught.value)
    assert "canary" not in trace
    assert "test_errors.py:" in trace
