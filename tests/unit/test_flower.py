"""Flower is never open to the network without a login."""

from __future__ import annotations

import pytest

from app import errors
from app.settings import Settings
from app.worker import flower


@pytest.mark.parametrize("address", ["0.0.0.0", "", "::", "192.0.2.1", "example.org"])
def test_no_login_means_loopback_only(address: str) -> None:
    """Without a login Flower does not start on an address that others reach, and says what to do."""
    with pytest.raises(errors.SettingsError, match="REVERSER_FLOWER_LOGIN"):
        flower.run(Settings(), port=0, address=address)


@pytest.mark.parametrize("login", ["secret", ":secret", "user:"])
def test_half_a_login_is_refused(login: str) -> None:
    """A login without a name or a password is a mistake, and is not shown."""
    with pytest.raises(errors.SettingsError, match="user:password") as raised:
        flower.run(Settings(flower_login=login), port=0, address="0.0.0.0")
    assert "secret" not in str(raised.value)


def test_the_login_is_not_in_a_repr() -> None:
    """Settings that are printed do not show the login."""
    assert "hunter2" not in repr(Settings(flower_login="admin:hunter2"))
