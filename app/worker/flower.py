"""`reverser flower`: Flower on our Celery app, so that what it sends to a queue is declared and checked like ours.

Flower has no login of its own by default, so it listens on loopback unless one is configured (`REVERSER_FLOWER_LOGIN`).
`/metrics`, `/healthcheck` and `/node` stay open even with a login: keep it behind a proxy that knows.
"""

from __future__ import annotations

import ipaddress
import signal
from collections.abc import Mapping
from typing import Any

import structlog
import tornado.ioloop
import tornado.web
from flower.app import Flower
from flower.options import options
from flower.urls import settings as web_settings

from app import errors, queues
from app.settings import Settings
from app.tasks import applying

log = structlog.get_logger(__name__)

# A destination is found by `kwargs:dest=shop/prod`, what happened by the result; uuid and state are for the rest.
COLUMNS = "name,uuid,state,kwargs,result,received,started,runtime,worker"
# Tasks kept in memory: hours of a busy installation at some 2 kB each.
TASKS_IN_MEMORY = 20_000


def run(settings: Settings, *, port: int, address: str = "127.0.0.1", extra: Mapping[str, Any] | None = None) -> None:
    """Serve Flower until SIGTERM or SIGINT. `extra` are options of Flower by name, such as `read_only`.

    Raises SettingsError for an address other than loopback without a login, and for a port that cannot be used.
    """
    _check_address(address, settings.flower_login)
    _set_options(settings, port=port, address=address, extra=extra or {})
    app = queues.make_app(settings)
    app.set_default()
    applying.register(app)
    server = Flower(capp=app, options=options, **web_settings)
    server.add_handlers(".*", [("/node", _Node, {"node": settings.node})])
    _listen(server, address=address, port=port)
    loop = tornado.ioloop.IOLoop.current()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    server.start()
    server.stop()


class _Node(tornado.web.RequestHandler):
    """Which process answers here: another Flower may have been faster to take the port."""

    def initialize(self, node: str) -> None:
        """Called by Tornado with what stands in the route."""
        self._node = node

    def get(self) -> None:
        """The name of the process, as in `REVERSER_NODE`."""
        self.set_header("Content-Type", "text/plain")
        self.write(self._node)


def _check_address(address: str, login: str) -> None:
    if login and not all(login.partition(":")):
        raise errors.SettingsError("REVERSER_FLOWER_LOGIN is not user:password")
    if login or address == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise errors.SettingsError(
            f"Flower would be open to everybody on {address or 'all addresses'}: "
            "set REVERSER_FLOWER_LOGIN=user:password or use --address 127.0.0.1"
        )


def _set_options(settings: Settings, *, port: int, address: str, extra: Mapping[str, Any]) -> None:
    ours = {
        "port": port,
        "address": address,
        "basic_auth": [settings.flower_login] if settings.flower_login else [],
        "persistent": False,
        "max_tasks": TASKS_IN_MEMORY,
        "tasks_columns": COLUMNS,
        "natural_time": False,
        # Workers that left a while ago.
        "purge_offline_workers": 60,
    }
    for name, value in {**ours, **extra}.items():
        setattr(options, name, value)


def _listen(server: Any, *, address: str, port: int) -> None:
    try:
        bound = server.start_http_server()
    except OSError as error:
        raise errors.SettingsError(f"Flower cannot listen on {address}:{port}: {error.strerror}") from error
    log.info("flower listens", url=f"http://{address}:{bound}")
