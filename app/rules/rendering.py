"""YAML for people and for every reader: the one emitter of what stands in Git (promise P1).

Our own, because the fast libraries write scalars plain that YAML 1.1, YAML 1.2 or the Go readers take for a number, a
date or a boolean. The rule here is the other way round: a scalar is plain only when it has a shape that no reader
resolves to anything but text; everything else is quoted. Lines are never wrapped, and a text of several lines is
written as that many lines, so that a diff shows the one that changed.
`foreign.py` reads back what somebody else may have written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from app import errors

FIRST_KEYS = ("apiVersion", "kind", "metadata")
FIRST_METADATA_KEYS = ("name", "namespace")

INDENT = "  "
# YAML readers look for the colon of a simple key within 1,024 characters; longer ones need the explicit form.
_LONGEST_SIMPLE_KEY = 1000
_LONGEST_CACHED_KEY = 100

# Words joined by single spaces, the first one with a letter, a slash or as a flag (`--port`); a colon only inside of a
# word (`nginx:1.25`), and most punctuation not at the start of one.
_IN_WORD = r"[A-Za-z0-9_./@+=~,;'!?%&*$()-]"
_REST_OF_WORD = rf"{_IN_WORD}*(?::{_IN_WORD}+)*"
_is_plain = re.compile(rf"(?:[A-Za-z/]|--?[A-Za-z]){_REST_OF_WORD}(?: [A-Za-z0-9_./@+=~()-]{_REST_OF_WORD})*").fullmatch
_PLAIN_KEY = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
# These start with a digit and are no number to any reader: `100m`, `64Mi`, `30s`, `25%`, `1.2.3`, `10.0.0.1`.
_PLAIN_QUANTITY = re.compile(r"[1-9][0-9]*(?:m|Ki|Mi|Gi|Ti|s|ms|h|%)|[0-9]+(?:\.[0-9]+){2,3}")
# What YAML 1.1 takes for a boolean or null, in any case.
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_LONGEST_WORD = 5

# What double quotes cannot hold as it is: control and format characters, line ends of any reader, no-characters.
_UNPRINTABLE = (
    "\x00-\x1f\x7f-\xa0\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff0-\uffff"
    "\U000e0000-\U000e0fff"
)
_ESCAPED = re.compile(rf'["\\{_UNPRINTABLE}]')
_UNPRINTED = re.compile(f"[{_UNPRINTABLE}]")
# A block may hold tabs besides, and quotes and backslashes as they are.
_NOT_IN_BLOCK = re.compile(rf"(?![\t\n])[{_UNPRINTABLE}]")
# The first line that is not empty begins with white space, which readers would take for indentation.
_INDENTED = re.compile(r"\n*[ \t]")
_NAMED_ESCAPES = {'"': '\\"', "\\": "\\\\", "\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r"}
_LAST_BMP, _LAST_BYTE = 0xFFFF, 0xFF


def render(sanitised: Mapping[str, Any]) -> bytes:
    """The file of an object: apiVersion, kind, metadata (name and namespace first), then the rest, keys sorted.

    Raises PermanentError(NotWritable) for what YAML in UTF-8 cannot hold; the message says nothing of the content.
    """
    lines: list[str] = []
    try:
        for key in _ordered(sanitised, FIRST_KEYS):
            value = sanitised[key]
            if key == "metadata" and type(value) is dict:
                value = {name: value[name] for name in _ordered(value, FIRST_METADATA_KEYS)}
                _entry(lines, key, value=value, lead="", pad="", keys=value)
            else:
                _entry(lines, key, value=value, lead="", pad="")
        return "".join(lines or ["{}\n"]).encode()
    except RecursionError as error:
        raise _not_writable("more levels than can be written") from error


def _ordered(mapping: Mapping[str, Any], first: Sequence[str]) -> list[str]:
    return [*(key for key in first if key in mapping), *sorted(key for key in mapping if key not in first)]


def _entry(lines: list[str], key: str, *, value: Any, lead: str, pad: str, keys: Iterable[str] | None = None) -> None:
    """One `key: value`. `lead` opens the first line (`  - ` or `pad`), `pad` every further one."""
    head = lead + (_key(key) if len(key) <= _LONGEST_CACHED_KEY else _long_key(key, pad))
    kind = type(value)
    if kind is str:
        lines.append(f"{head} {_string(value, pad)}\n")
    elif kind is dict and value:
        lines.append(f"{head}\n")
        _mapping(lines, value, lead=pad + INDENT, pad=pad + INDENT, keys=keys)
    elif kind is list and value:
        lines.append(f"{head}\n")
        # As kubectl writes it: the dash stands under the key.
        _sequence(lines, value, lead=pad, pad=pad)
    else:
        lines.append(f"{head} {_other_scalar(value)}\n")


def _mapping(
    lines: list[str], mapping: Mapping[str, Any], *, lead: str, pad: str, keys: Iterable[str] | None = None
) -> None:
    for key in sorted(mapping) if keys is None else keys:
        _entry(lines, key, value=mapping[key], lead=lead, pad=pad)
        lead = pad


def _sequence(lines: list[str], sequence: Sequence[Any], *, lead: str, pad: str) -> None:
    inner = pad + INDENT
    for item in sequence:
        kind = type(item)
        if kind is str:
            lines.append(f"{lead}- {_string(item, pad)}\n")
        elif kind is dict and item:
            _mapping(lines, item, lead=f"{lead}- ", pad=inner)
        elif kind is list and item:
            _sequence(lines, item, lead=f"{lead}- ", pad=inner)
        else:
            lines.append(f"{lead}- {_other_scalar(item)}\n")
        lead = pad


@lru_cache(maxsize=8192)
def _key(key: str) -> str:
    plain = _PLAIN_KEY.fullmatch(key) and key.lower() not in _WORDS
    return f"{key}:" if plain else f"{_quoted(key)}:"


def _long_key(key: str, pad: str) -> str:
    """A key outside of the cache; beyond what readers scan for a simple key, in the explicit form."""
    text = _key.__wrapped__(key)
    return text if len(text) <= _LONGEST_SIMPLE_KEY else f"? {text[:-1]}\n{pad}:"


def _string(text: str, pad: str) -> str:
    if _is_plain(text):
        return text if len(text) > _LONGEST_WORD or text.lower() not in _WORDS else f'"{text}"'
    if "\n" in text:
        return _lines(text, pad + INDENT)
    return text if _PLAIN_QUANTITY.fullmatch(text) else _quoted(text)


def _lines(text: str, pad: str) -> str:
    """A text of several lines as one line each, so that a diff shows the line that changed."""
    if text.isspace():
        # Nobody would see what is in a block.
        return _quoted(text)
    stripped = text.rstrip("\n")
    write = _block if _NOT_IN_BLOCK.search(stripped) is None else _quoted_lines
    return write(stripped, pad, ends=len(text) - len(stripped))


def _block(stripped: str, pad: str, *, ends: int) -> str:
    """A `|` block. Where its first line begins with white space, it has to say how far it is indented itself."""
    indicator = str(len(INDENT)) if _INDENTED.match(stripped) else ""
    chomping = {0: "-", 1: ""}.get(ends, "+")
    lines = [pad + line if line else "" for line in stripped.split("\n")]
    return "\n".join([f"|{indicator}{chomping}", *lines, *[""] * (ends - 1)])


def _quoted_lines(stripped: str, pad: str, *, ends: int) -> str:
    """What no block can hold, such as CRLF: in double quotes, with an escaped break of the line after each line end.

    Readers skip the white space that such a line begins with, up to the first character that is escaped.
    """
    first, *others = (_ESCAPED.sub(_escape, line) for line in stripped.split("\n"))
    lines = [first, *(f"{pad}\\{line}" if line.startswith(" ") else pad + line for line in others)]
    return '"' + "\\n\\\n".join(lines) + "\\n" * ends + '"'


def _quoted(text: str) -> str:
    """One line in double quotes; in single ones where these leave more as it is: JSON, regular expressions."""
    if text.count('"') + text.count("\\") > text.count("'") and _UNPRINTED.search(text) is None:
        return "'" + text.replace("'", "''") + "'"
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    character = found.group()
    named = _NAMED_ESCAPES.get(character)
    if named is not None:
        return named
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - the surrogates, which UTF-8 does not have
        raise _not_writable("text that is no Unicode")
    if code <= _LAST_BYTE:
        return f"\\x{code:02X}"
    return f"\\u{code:04X}" if code <= _LAST_BMP else f"\\U{code:08X}"


def _other_scalar(value: Any) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    kind = type(value)
    if kind is int:
        return str(value)
    if kind is float and value - value == 0:
        return _float(value)
    if kind is dict or kind is list:
        return "{}" if kind is dict else "[]"
    raise _not_writable(f"a value of type {kind.__name__} that JSON does not have")


def _float(value: float) -> str:
    """As Python writes it; YAML 1.1 wants a point before the exponent."""
    text = repr(value)
    return text if "." in text else text.replace("e", ".0e")


def _not_writable(what: str) -> errors.PermanentError:
    return errors.PermanentError(f"the object holds {what}: it cannot be written as YAML", reason="NotWritable")
