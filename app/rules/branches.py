"""Branch names: what Git takes, and what a GitRepoConfig allows. `compiling.py` asks; nothing here guesses one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from app import errors

MAX_BRANCH_BYTES = 200

# git-check-ref-format(1): what may stand nowhere in a reference name.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[-/]|[./]$|^@$|(^|/)\.|\.lock(/|$)")


def check(branch: str) -> None:
    """Refuse what is no branch name. Raises PermanentError(InvalidBranch)."""
    if not branch:
        raise _invalid("spec.branch is missing: name the branch to write to, it is never guessed")
    if _FORBIDDEN.search(branch) or not branch.isprintable() or len(branch.encode()) > MAX_BRANCH_BYTES:
        raise _invalid("spec.branch is no name that Git takes for a branch: correct it")
    if branch == "HEAD" or branch.startswith("refs/"):
        raise _invalid("spec.branch must be the short name of a branch: write main, not refs/heads/main or HEAD")


def check_allowed(branch: str, allowed: Sequence[str]) -> None:
    """Refuse a branch that no glob of the GitRepoConfig admits. Raises PermanentError(BranchNotAllowed)."""
    if not any(fnmatchcase(branch, glob) for glob in allowed):
        listed = ", ".join(allowed) or "none"
        raise errors.PermanentError(
            f"branch {branch} is not among allowedBranches of the GitRepoConfig ({listed}): "
            "add it there, or use another branch",
            reason="BranchNotAllowed",
        )


def _invalid(message: str) -> errors.PermanentError:
    return errors.PermanentError(message, reason="InvalidBranch")
