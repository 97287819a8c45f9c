"""Anything that JSON can hold, with a liking for what YAML readers stumble over."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Words that some reader takes for a number, a date, a boolean, or syntax.
WORDS = """
yes No ON off y n true False null ~ = << 1e3 12e03 0o14 08 0x1F 0b11 1_000 12:30 1:2:3 .5 5. .inf -.INF .nan
2020-01-01 2020-01-01T00:00:00Z - -- --- ... ? : # a: a:b a:b:c :a & * ! % @ ` { } [ ] , | > ' " /a 1.2.3
10m 1E 64Mi 25% 1.5Gi 0 -1 +1 1.0 e3 inf NaN -inf -e3 -a --a=b ---a -/ -- /metrics/* $(A) a=$(B)?c&d!
"""
TRAPS = [
    *WORDS.split(),
    "",
    " ",
    "a ",
    " a",
    "a  b",
    "a #b",
    "a: b",
    "a -b",
    "two words",
    "it's",
    "a, b; c",
    "a b:c d",
    "a 'b",
    "a: 'b\"",
    '{"a": 1}',
    "{'a': 1}",
    r"\d+",
    "\n",
    "a\n",
    "a\nb",
    "a\nb\n\n",
    "\na",
    " a\nb",
    "a\n\tb\n",
    "a\n \n",
    "a\n  b\nc",
    "a\r\nb",
    "#!/bin/sh\n\n  echo 'x'\n",
    "\t",
    "\0",
    "\x7f",
    "\x85",
    "\xa0",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\uffff",
    "😀",
    "é\nü",
    "a\u2029b\nc",
    # Beyond the 1,024 characters within which readers look for the colon of a key.
    "k" * 1100,
]
# Lines of files: indented, blank, with white space at their ends, and what may look like syntax at their start.
LINES = [
    "",
    " ",
    "  ",
    "\t",
    "a",
    "  b",
    "\tc",
    "d ",
    "e\t",
    "# f",
    "- g",
    "h: i",
    "---",
    "...",
    "key: |",
    '"',
    "\\",
    "%",
    "é",
]
files = st.builds(str.join, st.sampled_from(["\n", "\n", "\r\n"]), st.lists(st.sampled_from(LINES), max_size=7))
WORD = st.text(alphabet="aE0/-.,;:'\"!?%&*$()#=@~_", min_size=1, max_size=5)
sentences = st.lists(WORD, max_size=4).map(" ".join)
texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.text(alphabet=" \t\n\r-:#|>'\"\\ab01.e", max_size=16),
    files,
    sentences,
)


def json_objects(integers: SearchStrategy[int]) -> SearchStrategy[dict[str, Any]]:
    """Objects of any shape, with these integers."""
    scalars = st.one_of(
        st.none(), st.booleans(), integers, st.floats(allow_nan=False, allow_infinity=False), texts, texts
    )
    values = st.recursive(
        scalars,
        lambda children: st.lists(children, max_size=4) | st.dictionaries(texts, children, max_size=4),
        max_leaves=12,
    )
    return st.dictionaries(texts, values, max_size=4)


objects = json_objects(st.integers(-(2**63), 2**64 - 1))
# An API server keeps what is beyond 64 bits with a sign as a floating-point number, so no live object holds it.
held_by_kubernetes = json_objects(st.integers(-(2**63), 2**63 - 1))
