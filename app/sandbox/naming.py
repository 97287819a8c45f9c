"""What may stand in `metadata`: names, label and annotation keys, finalizers. Messages as in k8s.io/apimachinery.

Most names are DNS subdomains. Names of RBAC objects are path segments: all but `.`, `..`, `/` and `%` is legal there,
so whoever writes an object's name into a path or a file has to expect anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from app.sandbox import kinds, problems

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    f"an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL.pattern}')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)
_QUALIFIED_TEXT = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    f"(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED.pattern}')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE.pattern}')"
)
_DATA_KEY_TEXT = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
    f"or 'key-name', regex used for validation is '{_DATA_KEY.pattern}')"
)
_LONGEST_SUBDOMAIN = 253
_LONGEST_LABEL = 63
# A Job is named after its CronJob, with eleven characters more.
_LONGEST_CRON_JOB = 52
_LARGEST_ANNOTATIONS = 256 * 1024
_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_LABEL_NAMED = frozenset({"Namespace", "Service", "StatefulSet"})
_RBAC = "rbac.authorization.k8s.io"


def check_metadata(kind: kinds.Kind, metadata: Mapping[str, Any], causes: problems.Causes) -> None:
    """Everything that is checked alike for all types, and the naming rule of this one."""
    name = metadata.get("name") or ""
    if not name and not metadata.get("generateName"):
        causes.required("metadata.name", "name or generateName is required")
    elif name:
        for text in _name_errors(kind, name):
            causes.wrong("metadata.name", name, text)
    for key, value in (metadata.get("labels") or {}).items():
        _check_key(key, "metadata.labels", causes)
        for text in _value_errors(value):
            causes.wrong("metadata.labels", value, text)
    _check_annotations(metadata.get("annotations") or {}, causes)
    _check_owners(metadata.get("ownerReferences") or (), causes)
    for index, finalizer in enumerate(metadata.get("finalizers") or ()):
        _check_key(finalizer, "metadata.finalizers", causes)
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            text = "name is neither a standard finalizer name nor is it fully qualified"
            causes.wrong(f"metadata.finalizers[{index}]", finalizer, text)


def check_data_keys(found: Mapping[str, Any], causes: problems.Causes) -> None:
    """The keys of a ConfigMap or a Secret: they become the names of files."""
    data, binary = found.get("data") or {}, found.get("binaryData") or {}
    for field, keys in (("data", data), ("binaryData", binary)):
        for key in keys:
            if error := _data_key_error(key):
                causes.wrong(f"{field}[{key}]", key, error)
            elif field == "data" and key in binary:
                causes.wrong(f"{field}[{key}]", key, "duplicate of key present in binaryData")


def _data_key_error(key: str) -> str:
    if not _DATA_KEY.fullmatch(key):
        return _DATA_KEY_TEXT
    if key in {".", ".."}:
        return f"must not be '{key}'"
    return "must not start with '..'" if key.startswith("..") else ""


def is_label(text: str) -> bool:
    """Whether this may be the name of a container, a volume or a port."""
    return bool(_LABEL.fullmatch(text)) and len(text) <= _LONGEST_LABEL


def label_error() -> str:
    """What is said of a name that is no label."""
    return _LABEL_TEXT


def _name_errors(kind: kinds.Kind, name: str) -> list[str]:
    if kind.group == _RBAC:
        return _segment_errors(name)
    if kind.kind in _LABEL_NAMED and not kind.definition:
        return _label_errors(name)
    longest = _LONGEST_CRON_JOB if kind.kind == "CronJob" and not kind.definition else _LONGEST_SUBDOMAIN
    errors = [] if _SUBDOMAIN.fullmatch(name) else [_SUBDOMAIN_TEXT]
    return [f"must be no more than {longest} characters"] if len(name) > longest else errors


def _label_errors(name: str) -> list[str]:
    if len(name) > _LONGEST_LABEL:
        return [f"must be no more than {_LONGEST_LABEL} characters"]
    if _LABEL.fullmatch(name):
        return []
    return ["must not contain dots"] if _SUBDOMAIN.fullmatch(name) else [_LABEL_TEXT]


def _segment_errors(name: str) -> list[str]:
    if name in {".", ".."}:
        return [f"may not be '{name}'"]
    return [f"may not contain '{one}'" for one in "/%" if one in name]


def _check_key(key: str, path: str, causes: problems.Causes) -> None:
    """A label or annotation key: a name, after an optional subdomain and a slash."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        text = f"a valid label key {_QUALIFIED_TEXT} with an optional DNS subdomain prefix and '/'"
        causes.wrong(path, key, f"{text} (e.g. 'example.com/MyName')")
        return
    if slash and not prefix:
        causes.wrong(path, key, "prefix part must be non-empty")
    elif slash and not _SUBDOMAIN.fullmatch(prefix):
        causes.wrong(path, key, f"prefix part {_SUBDOMAIN_TEXT}")
    if not name:
        causes.wrong(path, key, "name part must be non-empty")
    elif len(name) > _LONGEST_LABEL:
        causes.wrong(path, key, f"name part must be no more than {_LONGEST_LABEL} bytes")
    if not _QUALIFIED.fullmatch(name):
        causes.wrong(path, key, f"name part {_QUALIFIED_TEXT}")


def _value_errors(value: str) -> list[str]:
    errors = [f"must be no more than {_LONGEST_LABEL} bytes"] if len(value) > _LONGEST_LABEL else []
    return errors if _VALUE.fullmatch(value) else [*errors, _VALUE_TEXT]


def _check_annotations(annotations: Mapping[str, str], causes: problems.Causes) -> None:
    for key in annotations:
        # Case does not matter in the key of an annotation.
        before = len(causes.found)
        _check_key(key.lower(), "metadata.annotations", causes)
        causes.found[before:] = [
            problems.Cause(
                cause.reason, cause.message.replace(problems.quoted(key.lower()), problems.quoted(key), 1), cause.field
            )
            for cause in causes.found[before:]
        ]
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > _LARGEST_ANNOTATIONS:
        causes.too_long("metadata.annotations", _LARGEST_ANNOTATIONS)


def _check_owners(owners: Any, causes: problems.Causes) -> None:
    path = "metadata.ownerReferences"
    for owner in owners:
        if not owner.get("apiVersion"):
            causes.wrong(f"{path}.apiVersion", "", "version must not be empty")
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                causes.wrong(f"{path}.{field}", "", "must not be empty")
