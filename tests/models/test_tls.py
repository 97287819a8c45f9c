"""PostgreSQL over TLS: what the URL says of certificates reaches the driver. The server is this file's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from app import db, errors
from tests import lanes
from tests.git import servers
from tests.servers import postgres


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The URL of a server on the loopback. `ca.crt` is the authority behind its certificate, and `other.crt` is not."""
    server = postgres.PostgresServer(lanes.find_postgres() or lanes.leave_out("postgres"), port=servers.free_port())
    ca, chain = servers.certificates(servers.HOST)
    (tmp_path / "ca.crt").write_text(ca)
    (tmp_path / "other.crt").write_text(servers.certificates(servers.HOST)[0])
    try:
        server.encrypt(chain)
        server.start()
        yield f"postgresql://reverser@{servers.HOST}:{server.port}/postgres"
    finally:
        server.stop()


@pytest.mark.postgres
def test_only_the_server_that_the_authority_signed_is_spoken_to(url: str, tmp_path: Path) -> None:
    """`sslmode=verify-full` encrypts to that server, and refuses one whose certificate another authority signed."""
    trusting = db.Database(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'ca.crt'}")
    with trusting.read() as connection:
        assert connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one()
    trusting.close()
    warned = db.Database(f"{url}?sslmode=verify-full&sslrootcert={tmp_path / 'other.crt'}")
    with pytest.raises(errors.TemporaryError, match="SSL error"), warned.read():
        pass
    warned.close()
