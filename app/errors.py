"""Errors by consequence: what happens next, and what a person has to do.

    ReverserError
    ├── TemporaryError       tried again after `delay` seconds; nobody has to act
    │   ├── LeaseLostError       another holder took over: this one's result is not recorded
    │   ├── RemoteMovedError     the remote branch is not where this drain built on: fetch, rebuild
    │   ├── UnknownOutcomeError  a call ended without an answer: read the other side before deciding
    │   └── BranchDivergedError  the remote branch was rewritten: its destinations are seeded again on top of it
    ├── StalledError         a person has to act; tried again slowly, nothing is dropped
    └── PermanentError       never tried again as it is: the row is dead, the message refused, the command ends
        ├── SettingsError        a setting is missing or wrong
        ├── MessageError         a message on a queue that cannot be read
        └── EventError           an Event that may not be made, for example one without a branch

Library errors are mapped to these where they enter (`app/kube`, `app/git`, `app/db`), with `raise ... from`.
A message never holds an object's content or a credential: it is shown in status, SQL, logs and Flower.
"""

from __future__ import annotations

import traceback


class ReverserError(Exception):
    """The root. `reason` is one CamelCase word, the reason of a Kubernetes condition."""

    default_reason = "Error"
    # What the other side answered, word for word. It may quote an object: only for whoever sent that object, no log.
    answer: str = ""

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason


class TemporaryError(ReverserError):
    """Worth another try after `delay` seconds."""

    default_reason = "Temporary"

    def __init__(self, message: str, *, delay: float = 1.0, reason: str = "") -> None:
        super().__init__(message, reason=reason)
        self.delay = delay


class LeaseLostError(TemporaryError):
    """Raised inside a fenced transaction whose token is no longer the newest."""

    default_reason = "LeaseLost"


class RemoteMovedError(TemporaryError):
    """The remote branch points elsewhere than the parent this push was built on."""

    default_reason = "RemoteMoved"


class UnknownOutcomeError(TemporaryError):
    """Nobody knows whether the other side did it (a network cut, a killed helper, a lost commit answer)."""

    default_reason = "UnknownOutcome"


class BranchDivergedError(TemporaryError):
    """The remote branch was rewritten: its tip does not contain the recorded head."""

    default_reason = "BranchDiverged"


class StalledError(ReverserError):
    """A person has to act: a wrong password, a refusing hook, a changed host key."""

    default_reason = "Stalled"


class PermanentError(ReverserError):
    """The same input will never work."""

    default_reason = "Invalid"


class SettingsError(PermanentError):
    """A setting is missing or cannot be read."""

    default_reason = "InvalidSettings"


class MessageError(PermanentError):
    """A queue message that does not follow the schema; carries identity only."""

    default_reason = "InvalidMessage"


class EventError(PermanentError):
    """An Event that breaks an invariant where it is made."""

    default_reason = "InvalidEvent"


def trace(error: BaseException) -> str:
    """Where an unforeseen error was raised, innermost first, without a single value: its text may quote an object."""
    frames = traceback.extract_tb(error.__traceback__)[::-1]
    return " < ".join(f"{frame.filename.rpartition('/app/')[2]}:{frame.lineno}" for frame in frames[:8])
