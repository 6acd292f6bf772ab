# SPDX-License-Identifier: Apache-2.0
"""Requests to the Docker Engine.

``requests.Session`` is not promised to be thread-safe, so each thread has clients of its own: one
for requests that are answered soon, one for those that may be silent for long (load, save, commit).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping
from typing import Any, Literal

import docker
import docker.errors
import docker.tls
import requests
from oslo_log import log as logging

from novadocker import exceptions
from novadocker.virt.docker.engine import duplex

LOG = logging.getLogger(__name__)

# Methods of the SDK's low-level client that the driver uses, and two of :class:`_Client`.
Verb = Literal[
    "commit",
    "containers",
    "create_container",
    "create_host_config",
    "events",
    "exec_create",
    "exec_inspect",
    "exec_resize",
    "exec_start",
    "export",
    "get_archive",
    "get_image",
    "images",
    "import_image_from_data",
    "info",
    "inspect_container",
    "inspect_image",
    "kill",
    "load_image",
    "logs",
    "open_exec",
    "open_terminal",
    "pause",
    "put_archive",
    "remove_container",
    "remove_image",
    "rename",
    "resize",
    "start",
    "stats",
    "stop",
    "unpause",
    "update_container",
    "version",
    "wait",
]
# Requests without effect: repeated once when the connection broke (a restarted engine, an idle
# connection).
_READS: frozenset[Verb] = frozenset(
    {
        "containers",
        "exec_inspect",
        "images",
        "info",
        "inspect_container",
        "inspect_image",
        "logs",
        "stats",
        "version",
    }
)


# Turn the connection of a request into one that both sides write to.
_UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
# In the engine's answer to a version of its interface that it does not have (any more).
_OTHER_VERSION = "client version"


class _Client(docker.APIClient):
    """A client that ignores the environment: proxies and CAs there are meant for other requests."""

    def create_container(self, *args: Any, **kwargs: Any) -> Any:
        """Make a container without the proxies of ``~/.docker/config.json``.

        They are the operator's, with passwords in them, and an instance's environment is a tenant's
        to read.
        """
        return super().create_container(*args, use_config_proxy=False, **kwargs)

    def create_container_config(self, *args: Any, **kwargs: Any) -> Any:
        """Return what a container is made of, whose health is checked no more often as it starts.

        The SDK does not know that interval. Without one an engine from 25 on takes the image's,
        which may be a millisecond, or 5 s.
        """
        config = super().create_container_config(*args, **kwargs)
        check = config["Healthcheck"]
        if check and check["Interval"]:
            check["StartInterval"] = check["Interval"]
        return config

    def update_container(self, container: str, *, resources: Mapping[str, int | str]) -> Any:
        """Change limits of a container. The SDK's method does not know that of processes.

        :param resources: bytes, microseconds, numbers and processors, by the engine's names
        """
        url = self._url("/containers/{0}/update", container)
        return self._result(self._post_json(url, data=dict(resources)), True)

    def open_exec(self, identity: str) -> duplex.Duplex:
        """Start a program of :meth:`exec_create`, and open its terminal."""
        url = self._url("/exec/{0}/start", identity)
        data = {"Tty": True, "Detach": False}
        return self._opened(self._post_json(url, data=data, headers=_UPGRADE, stream=True))

    def open_terminal(self, container: str, detach_keys: str) -> duplex.Duplex:
        """Open the terminal of a container that has one.

        :param detach_keys: what the terminal is left by
        """
        url = self._url("/containers/{0}/attach", container)
        asked = dict.fromkeys(("stdin", "stdout", "stderr", "stream"), "1")
        params = {**asked, "detachKeys": detach_keys}
        return self._opened(self._post(url, params=params, headers=_UPGRADE, stream=True))

    def _opened(self, response: requests.Response) -> duplex.Duplex:
        self._raise_for_status(response)
        return duplex.Duplex(response)

    @property
    def trust_env(self) -> bool:
        """Return False: ``requests`` would prefer the environment to the options."""
        return False

    @trust_env.setter
    def trust_env(self, wanted: bool) -> None:
        pass


class Engine:
    """One Docker Engine; all its methods may be called from any thread.

    :param url: where it listens
    :param timeout_s: seconds to wait for an ordinary answer
    :param load_timeout_s: seconds of silence allowed while images are moved
    :param tls: how to verify the engine, and the client certificate to show it, for tcp://
    """

    def __init__(
        self,
        url: str,
        timeout_s: int = 60,
        load_timeout_s: int = 1800,
        tls: docker.tls.TLSConfig | None = None,
    ) -> None:
        self.url = url
        self._timeouts = {False: timeout_s, True: load_timeout_s}
        self._tls = tls
        self._version: str | None = None
        self._threads = threading.local()

    @classmethod
    def from_conf(cls, conf: Any) -> Engine:
        """Make the engine that the section [docker] describes.

        :raises DriverError: the engine cannot be reached in a safe way
        """
        section = conf.docker
        tls = None
        if not section.host_url.startswith(("unix://", "tcp://", "https://")):
            raise exceptions.DriverError(
                f"[docker]host_url is {section.host_url!r}: whoever reads or answers there in the "
                "clear is root on this host. Set it to unix:///var/run/docker.sock, or to "
                "tcp://HOST:2376, which is TLS, with ca_file, cert_file and key_file"
            )
        if not section.host_url.startswith("unix://"):
            pair = (section.cert_file, section.key_file) if section.cert_file else None
            tls = docker.tls.TLSConfig(
                client_cert=pair, ca_cert=section.ca_file, verify=section.tls_verify
            )
        return cls(section.host_url, section.api_timeout, section.load_timeout, tls)

    def call(self, verb: Verb, *args: Any, patient: bool = False, **kwargs: Any) -> Any:
        """Call a method of the SDK's low-level client.

        :param verb: its name
        :param patient: allow the engine to be silent for ``load_timeout_s``
        :raises NotFound, Conflict, EngineError: the engine answered with an error
        :raises EngineUnreachable: the engine did not answer
        """
        for last in (False, True):
            try:
                return getattr(self._client(patient), verb)(*args, **kwargs)
            except docker.errors.APIError as err:
                fault = _fault(err)
                if not _is_of_another_version(fault):
                    raise fault from err
                # The engine was upgraded, and has done nothing.
                self.forget()
                if last or any(isinstance(arg, Iterator) for arg in args):
                    # What was to be sent may be read already.
                    raise fault from err
            except (requests.exceptions.RequestException, docker.errors.DockerException) as err:
                self.forget()
                if last or verb not in _READS or isinstance(err, requests.exceptions.Timeout):
                    raise exceptions.EngineUnreachable(
                        f"Docker Engine at {self.url} does not answer {verb}: {err}"
                    ) from err
        raise AssertionError("unreachable")

    def stream(self, verb: Verb, *args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        """Call a method that answers with a stream, and yield its parts.

        :raises NotFound, Conflict, EngineError, EngineUnreachable: as :meth:`call`, at any part
        """
        parts = self.call(verb, *args, patient=True, **kwargs)
        try:
            yield from parts
        except docker.errors.APIError as err:
            raise _fault(err) from err
        except (requests.exceptions.RequestException, docker.errors.DockerException) as err:
            self.forget()
            raise exceptions.EngineUnreachable(
                f"Docker Engine at {self.url} broke off {verb}: {err}"
            ) from err

    def _client(self, patient: bool) -> docker.APIClient:
        clients = self._threads.__dict__.setdefault("clients", {})
        if patient not in clients:
            clients[patient] = _Client(
                base_url=self.url,
                version=self._version or "auto",
                timeout=self._timeouts[patient],
                tls=self._tls or False,
            )
            # Negotiated once, so that other threads save a request.
            self._version = clients[patient].api_version
        return clients[patient]

    def forget(self) -> None:
        """Drop this thread's connections and the negotiated version: the engine may be another."""
        self._version = None
        for client in self._threads.__dict__.pop("clients", {}).values():
            client.close()


def _is_of_another_version(fault: exceptions.EngineError) -> bool:
    return fault.status == 400 and _OTHER_VERSION in str(fault)


def _fault(err: docker.errors.APIError) -> exceptions.EngineError:
    """Return our exception for an answer with an error status."""
    status = err.response.status_code if err.response is not None else None
    kind = {404: exceptions.NotFound, 409: exceptions.Conflict}.get(
        status or 0, exceptions.EngineError
    )
    return kind(str(err.explanation or err), status)
