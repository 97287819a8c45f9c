"""Names of Git objects, kept apart by type so that a tree is never passed where a commit belongs.

All three are 40 hexadecimal digits, lower case. Everything in `app/git` and its callers uses these.
"""

from __future__ import annotations

from typing import NewType

Sha = NewType("Sha", str)
TreeId = NewType("TreeId", str)
BlobId = NewType("BlobId", str)

# The tree without an entry; Git knows it without storing it.
EMPTY_TREE = TreeId("4b825dc642cb6eb9a060e54bf8d69288fbee4904")
