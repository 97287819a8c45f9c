"""What hostile messages carry: text that must show nowhere, and a pickle that leaves a folder where it is unpickled."""

from __future__ import annotations

import os
import pickle
import tempfile
import uuid
from pathlib import Path

TEXT = "canary-4711"
LEFT = Path(tempfile.gettempdir()) / f"reverser-canary-{uuid.uuid4().hex}"


class _Hatching:
    """An object whose pickle makes the folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(LEFT),)


PICKLE = pickle.dumps((_Hatching(), {}, {}))
