"""What controllers write after a person made an object is no change of the file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.rules.ignoring import NOTHING, Ignored
from tests.roundtrip import controllers, travels
from tests.roundtrip.controllers import Story
from tests.roundtrip.travelling import Travelling, mirrored
from tests.roundtrip.travels import Object
from tests.servers.api import KUBE_ONLY

pytestmark = KUBE_ONLY


@pytest.fixture
def manifest(travelling: Travelling, story: Story) -> Iterator[Object]:
    """The object of a story, as a person made it."""
    found = travels.named(story.kind, story.name)
    travelling.create(found)
    yield found
    travelling.remove(found)


@pytest.mark.parametrize("story", controllers.STORIES, ids=lambda story: story.title)
def test_what_a_controller_writes_is_no_change(travelling: Travelling, manifest: Object, story: Story) -> None:
    """The file after a controller's writes is the file before them."""
    made = travelling.read(manifest)
    for write in story.writes:
        travelling.write(manifest, write)
    written = travelling.read(manifest)
    assert written["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert mirrored(written).decode() == mirrored(made).decode()


@pytest.mark.parametrize("story", [controllers.scaling(controllers.KCM)], ids=lambda story: story.title)
def test_replicas_of_the_autoscaler(travelling: Travelling, manifest: Object, story: Story) -> None:
    """Replicas are a person's until the autoscaler decides them; then they go, and it never makes a change again."""
    made = mirrored(travelling.read(manifest))
    assert set(_after(travelling, manifest, story)) == {_without_replicas(made)}


@pytest.mark.parametrize("story", [controllers.scaling("keda")], ids=lambda story: story.title)
def test_what_a_rule_says_about_a_manager(travelling: Travelling, manifest: Object, story: Story) -> None:
    """Another manager's word counts as intent, unless a rule says that it is none."""
    ignored = Ignored(managers=("keda/scale",))
    made = mirrored(travelling.read(manifest), ignored)
    assert set(_after(travelling, manifest, story, ignored)) == {_without_replicas(made)}
    assert b"replicas: 9\n" in mirrored(travelling.read(manifest))


def _after(travelling: Travelling, manifest: Object, story: Story, ignored: Ignored = NOTHING) -> Iterator[bytes]:
    for write in story.writes:
        travelling.write(manifest, write)
        yield mirrored(travelling.read(manifest), ignored)


def _without_replicas(file: bytes) -> bytes:
    left = file.replace(b"  replicas: 3\n", b"")
    assert left != file
    return left
