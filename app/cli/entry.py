"""The program `reverser`: the first of our code that runs, before any library is loaded.

Loading takes a second on a slow machine. Ctrl-C then ends the process at once, as nothing has begun: without this,
Python would print where it was, or lose the interruption in a callback that may not raise. `main.py` listens again.
"""

from __future__ import annotations

import importlib
import signal


def main() -> None:
    """Run the command line."""
    # Whoever started us with Ctrl-C ignored, as nohup does, has a reason.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    importlib.import_module("app.cli.main").main(prog_name="reverser")
