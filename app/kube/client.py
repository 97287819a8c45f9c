"""The door to a cluster: one code path for every request, with fresh credentials, timeouts and typed errors.

The `kubernetes` package reads kubeconfigs, runs credential plugins and builds the TLS connection pool. Its typed calls
are not used: raw JSON is ten times faster and cannot lose a field that a model does not know.
`problems.py` names what an answer means; `listing.py`, `watching.py` and `discovery.py` build on `Cluster`.
"""

from __future__ import annotations

import functools
import ipaddress
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import kubernetes.client
import kubernetes.config
import orjson
import urllib3
import yaml

from app import errors, settings
from app.kube import problems

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
# The name of our writes in an object's managedFields.
FIELD_MANAGER = "reverser"

# Each watch holds a connection. The pool never blocks; above this number connections are closed instead of kept.
POOL_SIZE = 2_000


@dataclass(frozen=True)
class Session:
    """One reading of the credentials, and the connections that were opened with them."""

    configuration: Any
    pool: urllib3.PoolManager

    @property
    def server(self) -> str:
        """The URL of the API server, without a slash at the end."""
        return str(self.configuration.host).rstrip("/")

    def headers(self) -> dict[str, str]:
        """The Authorization header, if there is one. The library reads a mounted token again each minute."""
        auth = self.configuration.auth_settings().get("BearerToken")
        return {"Authorization": auth["value"].strip()} if auth and auth["value"] else {}


class Cluster:
    """One API server. Safe to share between threads; use `connect` to make it."""

    def __init__(self, options: settings.Settings) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._session = _open_session(options)

    def __repr__(self) -> str:
        return f"<Cluster {self._options.cluster} at {self._session.server}>"

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self._session.server

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float | None = None,
        stream: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request; `timeout` is the read timeout in seconds. With `stream` the body is left unread.

        Raises StalledError (401), Forbidden, NotServed, Expired, Conflict, PermanentError (400, 422 and other
        refusals) and TemporaryError (429, 5xx, no answer, half an answer).
        """
        query = query or {}
        call = problems.Call.parse(method, path, query)
        headers = {"Accept": accept, "User-Agent": "reverser"}
        if body is not None:
            headers["Content-Type"] = content_type
        send = functools.partial(
            self._send,
            call,
            method=method,
            url=f"{path}?{urlencode(query)}" if query else path,
            headers=headers,
            body=body,
            timeout=timeout or self._options.kube_read_timeout,
            stream=stream,
        )
        session = self._session
        response = send(session)
        if response.status == 401:  # noqa: PLR2004 - Unauthorized: the token may have been renewed on disk
            response = send(self._renew(session))
        if response.status >= 300:  # noqa: PLR2004 - everything but success
            raise problems.of_answer(call, status=response.status, headers=response.headers, body=response.data)
        return response

    def get_json(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = JSON, timeout: float | None = None
    ) -> dict[str, Any]:
        """Read one JSON document. Raises as `request` does, and TemporaryError when it is not a whole object."""
        response = self.request("GET", path, query=query, accept=accept, timeout=timeout)
        return decode(response.data, call=f"get {path}")

    def uid(self) -> str:
        """The uid of the namespace kube-system, which tells one cluster from another."""
        namespace = self.get_json("/api/v1/namespaces/kube-system")
        uid = (namespace.get("metadata") or {}).get("uid")
        if not isinstance(uid, str) or not uid:
            raise problems.incomplete("get namespaces kube-system", "the answer has no uid")
        return uid

    def close(self) -> None:
        """Close the idle connections."""
        self._session.pool.clear()

    def _send(
        self,
        call: problems.Call,
        session: Session,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: float,
        stream: bool,
    ) -> urllib3.BaseHTTPResponse:
        try:
            response = session.pool.request(
                method,
                session.server + url,
                headers={**headers, **session.headers()},
                body=body,
                timeout=urllib3.Timeout(connect=self._options.kube_connect_timeout, read=timeout),
                preload_content=not stream,
                # A redirect would carry the token elsewhere, and whoever calls decides about another try.
                retries=False,
                redirect=False,
            )
            if stream and response.status >= 300:  # noqa: PLR2004 - a refusal is short; reading it frees the connection
                response.read(cache_content=True)
        except (urllib3.exceptions.HTTPError, OSError) as failure:
            raise problems.of_failure(call, failure) from failure
        return response

    def _renew(self, used: Session) -> Session:
        """Read the credentials again, once for all threads that were refused with the same ones."""
        with self._lock:
            if self._session is used:
                self._session = _open_session(self._options)
            return self._session


def connect(options: settings.Settings) -> Cluster:
    """Read the kubeconfig (one file or several, as $KUBECONFIG has them) or the service account of the pod.

    Nothing is sent yet. Raises SettingsError when there are no usable credentials or TLS is not verified.
    """
    return Cluster(options)


def decode(body: bytes, *, call: problems.Call | str) -> dict[str, Any]:
    """One JSON object. Raises TemporaryError for anything else: half an answer must not read as an empty one."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise problems.incomplete(call, "the answer is not whole JSON") from error
    if not isinstance(document, dict):
        raise problems.incomplete(call, "the answer is not a JSON object")
    return document


def _open_session(options: settings.Settings) -> Session:
    configuration = kubernetes.client.Configuration(connection_pool_maxsize=POOL_SIZE)
    # A watch is quiet for minutes: without keepalive a dead connection is noticed only by its timeout.
    configuration.keep_alive = True
    try:
        if options.kubeconfig:
            kubernetes.config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=options.kubeconfig, client_configuration=configuration, persist_config=False
            )
        else:
            kubernetes.config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
        _check_transport(configuration)
        return Session(configuration, kubernetes.client.ApiClient(configuration).rest_client.pool_manager)
    except kubernetes.config.ConfigException as error:
        raise errors.SettingsError(_advice(options)) from error
    except OSError as error:
        raise errors.SettingsError(f"{_advice(options)} ({error.strerror or type(error).__name__})") from error
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        # The library trusts the shape of the file, and fails in any of these ways where it is another one.
        raise errors.SettingsError(f"{options.kubeconfig} is no kubeconfig: give the path of one") from error


def _check_transport(configuration: Any) -> None:
    """Refuse to send credentials where somebody could read them."""
    server = urlsplit(str(configuration.host))
    if server.scheme != "https" and not _is_loopback(server.hostname or ""):
        raise errors.SettingsError(
            f"the API server {server.hostname} is not reached over https: correct the kubeconfig"
        )
    if not configuration.verify_ssl:
        raise errors.SettingsError(
            "the kubeconfig says insecure-skip-tls-verify: name the CA in certificate-authority-data instead"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _advice(options: settings.Settings) -> str:
    if options.kubeconfig:
        return f"the kubeconfig {options.kubeconfig} cannot be used: check the path, its current-context and its files"
    return "no cluster: set KUBECONFIG, or run in a pod with a service account"
