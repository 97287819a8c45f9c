"""What a rule leaves out of the objects it mirrors: fields by JSON pointer, and fields by who manages them.

`check` is asked by the compiler, so that a rule that cannot work says so in its status. `sanitising.py` applies an
`Ignored`; `ownership.py` reads who manages a field.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from app import errors
from app.rules import filters, labels

EVERY = "*"
# What tells one object from another never goes, whatever a rule says.
IDENTITY = (("apiVersion",), ("kind",), ("metadata",), ("metadata", "name"), ("metadata", "namespace"))
_NAMING_IDENTITY = frozenset(
    naming for path in IDENTITY for naming in itertools.product(*((EVERY, key) for key in path))
)

# The schema of our kinds has the same limits. They also bound how deep a pointer can lead.
LONGEST_POINTER = 512
LONGEST_MANAGER = 256

_ESCAPE_OF_NOTHING = re.compile(r"~(?![01])")
# Nobody means these in a key or a name; they would be carried into terminals, and into databases that take no U+0000.
CONTROL = r"\x00-\x1f\x7f"
_CONTROL = re.compile(f"[{CONTROL}]")
# `-` is the position behind the last item (RFC 6901, section 4).
_POSITION = re.compile(r"/([0-9]+|-)(/|$)")
# Maps in every object that people write: a number there is a key.
_MAPS = ("/data/", "/metadata/annotations/", "/metadata/labels/")
_TELLS_WHICH = "apiVersion, kind, metadata.name and metadata.namespace tell which object it is: name other fields"
# Where annotations and labels stand: those of the object, and of what it is a template for. Elsewhere these words may
# mean anything, such as a pattern of a policy.
_KEYS = "(?:.*[tT]emplates?(?:/[*])?)?/metadata/(?:annotations|labels)"
_NOT_BELOW = "nothing is below a key of annotations or labels:"
# What names no field of an object of any kind, and what to write. Where a key may hold a `*`, in a map of a spec, one
# beside other characters is taken for a part of the key. The schema of our kinds has what costs a server little of it.
_NOWHERE = (
    (re.compile(r"//|/$"), "a part of it is empty: write no / at its end, and no two side by side"),
    (re.compile(r"^/[^/]*[.]"), "no field at the top of an object has a dot in its name: write it like /spec/replicas"),
    (re.compile(r"^/(apiVersion|kind|metadata/name|metadata/namespace)/"), _TELLS_WHICH),
    (
        re.compile(r"\[[0-9*]*\](/|$)"),
        "items of a list are a part of their own: write it like /spec/containers/*/image",
    ),
    (re.compile(r"/[*][*]+(/|$)"), "* stands for one whole part: write /*/* for two"),
    (
        re.compile(rf"^(/data|/binaryData|/metadata|{_KEYS})?/([^/]+[*]|[*][^/])"),
        "* stands for a whole part, and no key here holds one: write each key, or * alone for all of them",
    ),
    (
        re.compile(rf"^({_KEYS}/[^/]+)/([^/]+)$"),
        rf"{_NOT_BELOW} where the / belongs to the key, write \1~1\2",
    ),
    (re.compile(rf"^{_KEYS}/[^/]+/"), f"{_NOT_BELOW} such a key has one / at most, which is written ~1"),
    (
        re.compile("^/metadata/finalizers/([^*]|[*].)"),
        "finalizers are a list of texts: write /metadata/finalizers for all",
    ),
)
# The fields of ObjectMeta, which every kind has (k8s.io/apimachinery, meta/v1).
_METADATA = frozenset(
    {
        EVERY,
        "annotations",
        # Up to Kubernetes 1.23.
        "clusterName",
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "finalizers",
        "generateName",
        "generation",
        "labels",
        "managedFields",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True, slots=True)
class Ignored:
    """`fields` are JSON pointers in which `*` is every item or key; `managers` are `<glob>` or `<glob>/<subresource>`.

    Both are kept sorted and once each, so that equal wishes are equal values.
    """

    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", tuple(sorted(set(self.fields))))
        object.__setattr__(self, "managers", tuple(sorted(set(self.managers))))

    def __or__(self, other: Ignored) -> Ignored:
        """What either of two rules leaves out."""
        return Ignored(self.fields + other.fields, self.managers + other.managers)

    def __bool__(self) -> bool:
        return bool(self.fields or self.managers)

    def to_json(self) -> dict[str, list[str]]:
        """The fields as a manifest spells them; only what is set."""
        both = {"ignoreFields": list(self.fields), "ignoreManagers": list(self.managers)}
        return {field: values for field, values in both.items() if values}


NOTHING = Ignored()


def check(pointers: Iterable[str], managers: Iterable[str]) -> None:
    """Refuse what can never work, or would take an object its identity. Raises PermanentError(InvalidSpec)."""
    for pointer in pointers:
        if problem := _problem_of_text(pointer) or _problem_of_pointer(pointer):
            raise _invalid("ignoreFields", pointer, problem)
    for entry in managers:
        if problem := _problem_of_text(entry) or _problem_of_manager(entry):
            raise _invalid("ignoreManagers", entry, problem)


def segments(pointer: str) -> tuple[str, ...]:
    """The keys of a JSON pointer (RFC 6901), unescaped."""
    return tuple(segment.replace("~1", "/").replace("~0", "~") for segment in pointer.split("/")[1:])


def pointer(path: Iterable[str | int]) -> str:
    """The JSON pointer of a path; the inverse of `segments`, but for the type of positions."""
    return "".join(f"/{str(key).replace('~', '~0').replace('/', '~1')}" for key in path)


def names_manager(entry: str, *, manager: str, subresource: str) -> bool:
    """Whether an entry of `managers` means this manager.

    A manager's own name may hold slashes, so an entry is tried as a name first and as name and subresource then.
    """
    name, slash, wanted = entry.rpartition("/")
    return fnmatchcase(manager, entry) or bool(slash and wanted == subresource and fnmatchcase(manager, name))


def _problem_of_text(text: str) -> str:
    return "it holds a control character, and nobody means one: remove it" if _CONTROL.search(text) else ""


def _problem_of_pointer(text: str) -> str:
    if not text.startswith("/"):
        return "write a JSON pointer that starts with /, such as /spec/replicas"
    if len(text) > LONGEST_POINTER:
        return f"a pointer has at most {LONGEST_POINTER} characters"
    if _ESCAPE_OF_NOTHING.search(text):
        return "in a JSON pointer ~ is written ~0, and a / inside a key ~1"
    return _problem_of_place(text, segments(text))


def _problem_of_place(text: str, path: tuple[str, ...]) -> str:
    """Why no object has such a field, or why none may lose it."""
    if path in _NAMING_IDENTITY:
        return _TELLS_WHICH
    if _POSITION.search(text) and not text.startswith(_MAPS):
        return "it holds the position of an item, and positions move: write * for every item"
    for pattern, advice in _NOWHERE:
        if found := pattern.search(text):
            return found.expand(advice)
    match path:
        case ("metadata", part, *_) if part not in _METADATA:
            return f"metadata has no field {part[:40]!r}: people write annotations, labels and finalizers there"
        # The API server takes an annotation in any case of letters.
        case ("metadata", "annotations" | "labels", key) if key != EVERY and not labels.is_key(key.lower()):
            return f"{key[:80]!r} is no annotation or label: write it like tier or example.com~1tier"
    return ""


def _problem_of_manager(entry: str) -> str:
    name, slash, subresource = entry.rpartition("/")
    if not entry or (slash and not (name and subresource)):
        return "write the name of a field manager, or <manager>/<subresource>, such as kube-controller-manager/scale"
    if len(entry) > LONGEST_MANAGER:
        return f"an entry has at most {LONGEST_MANAGER} characters"
    if filters.takes_every_name(entry):
        return "it would leave out every field that anybody manages: name a manager"
    return filters.problem(entry)


def _invalid(field: str, entry: str, problem: str) -> errors.PermanentError:
    return errors.PermanentError(f"{field} holds {entry[:80]!r}: {problem}", reason="InvalidSpec")
