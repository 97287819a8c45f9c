"""The page of the reference about the round trip keeps up with what is found."""

from __future__ import annotations

import pytest

from tests.roundtrip import page
from tests.roundtrip.travelling import Travelling
from tests.servers.api import KUBE_ONLY


@pytest.mark.kubectl
@KUBE_ONLY
def test_the_page_of_types_tells_what_is_found(travelling: Travelling) -> None:
    """What the reference says of each type is what this server does; only the date may be another."""
    assert page.PATH.read_text().splitlines()[page.DATED :] == page.of(travelling).splitlines()[page.DATED :]
