"""The page of properties: what `make test-long` tried, how often and for how long, written by the run itself.

A property is a test with the marker `hypothesis`: every `@given` test has it, and one that asks Hypothesis in another
way says so itself. `tests/conftest.py` registers the recorder where `--properties-page` names a file. A test records
the version of what it asks with `record_property(properties.VERSION, "...")`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis.statistics import collector

OPTION = "--properties-page"
MARKER = "hypothesis"
PROPERTY, VERSION = "property", "version"
PACKAGES = ("hypothesis", "PyYAML", "ruamel.yaml")

PAGE = """# Properties

What holds for anything that Hypothesis makes up. `make test` tries 100 examples of each property, CI 1,000, and
`make test-long` 20,000; this page is the result of the last `make test-long`, which wrote it. Fewer examples mean
that there are no more. Where a property fails, nothing is written here: its example is made small and reported.

{date}, {machine}. {examples:,} examples of {count} properties, {seconds:,} s of one core.

Read by {versions}.

| property | test | examples | s |
|---|---|---|---|
{rows}
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """One property after a run."""

    promise: str
    examples: int


class Recorder:
    """A plugin that counts examples where tests run, and writes the page where their reports arrive."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._rows: dict[str, str] = {}
        self._versions: set[str] = set()
        self._examples = 0
        self._seconds = 0.0
        self._left_out: list[str] = []

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Function) -> Iterator[None]:
        """Count what Hypothesis tries in a property, whether pytest or the test itself asks it."""
        if item.get_closest_marker(MARKER) is None:
            return (yield)
        counts: list[int] = []
        outer = collector.value

        def note(statistics: Any) -> None:
            counts.append(_passed(statistics))
            if outer:
                outer(statistics)

        with collector.with_value(note):
            result = yield
        promise = " ".join((item.function.__doc__ or item.name).split())
        item.user_properties.append((PROPERTY, asdict(Tried(promise, sum(counts)))))
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what a process of the run says about a property."""
        if report.skipped and MARKER in report.keywords:
            self._left_out.append(report.nodeid)
        for name, value in report.user_properties if report.when == "call" else ():
            if name == PROPERTY:
                self._take(report, Tried(**value))
            elif name == VERSION:
                self._versions.add(str(value))

    def _take(self, report: pytest.TestReport, tried: Tried) -> None:
        promise = tried.promise.replace("|", "\\|")
        row = f"| {promise} | `{report.nodeid}` | {tried.examples:,} | {report.duration:.0f} |"
        self._rows[report.nodeid] = row
        self._examples += tried.examples
        self._seconds += report.duration

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        """Write the page of a whole run in which everything passed; say so, or why not."""
        if hasattr(config, "workerinput"):
            # One of several processes, which knows of its own part alone; all reports reach the one that started it.
            return
        why_not = self._why_not(exitstatus, config)
        if not why_not:
            self._page.write_text(self._text())
        terminalreporter.write_line(f"{self._page}: {f'not written, because {why_not}' if why_not else 'written'}")

    def _why_not(self, exitstatus: int, config: pytest.Config) -> str:
        if exitstatus != pytest.ExitCode.OK:
            return "the run failed"
        narrowed = any(config.getoption(name) for name in ("keyword", "deselect", "lf"))
        if narrowed or config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
            return "only a part of the tests was asked for"
        if self._left_out:
            return f"properties were left out: {', '.join(self._left_out)}"
        return ""

    def _text(self) -> str:
        packages = [f"{name} {metadata.version(name)}" for name in PACKAGES]
        return PAGE.format(
            date=datetime.now(UTC).date().isoformat(),
            machine=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
            examples=self._examples,
            count=len(self._rows),
            seconds=round(self._seconds),
            versions=_listed([*packages, *sorted(self._versions)]),
            rows="\n".join(self._rows[nodeid] for nodeid in sorted(self._rows)),
        )


def _passed(statistics: Any) -> int:
    """How many examples ran to their end, of those from earlier runs and the new ones."""
    phases = (statistics.get(f"{name}-phase", {}) for name in ("reuse", "generate"))
    return sum(case["status"] == "valid" for phase in phases for case in phase.get("test-cases", ()))


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
