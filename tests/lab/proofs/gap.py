# SPDX-License-Identifier: Apache-2.0
"""Hosts that reach each other and nothing else, and an index outside that hears who asks."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from lab.hosts.access import Host
from lab.settings import LabSettings

CHAIN = "AIRGAP"
PIP_CONF = "/etc/pip.conf"
TRY = (
    "import sys, urllib.request;"
    "print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
)
ANSWER = "the index answers"


class Index:
    """A package index on the machine, which a host asks where it can.

    :param address: of the machine, as hosts know it
    """

    def __init__(self, address: str) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Answers(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(f"{self.client_address[0]} {self.path}")
                self.send_response(200)
                self.end_headers()
                self.wfile.write(ANSWER.encode())

            def log_message(self, *_: object) -> None:
                """Leave the screen to the tests."""

        self.server = http.server.ThreadingHTTPServer((address, 0), Answers)
        self.url = f"http://{address}:{self.server.server_port}/simple/"

    @contextmanager
    def served(self) -> Iterator[None]:
        """Answer meanwhile."""
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def reached_from(self, host: Host) -> bool:
        """Return whether a host gets an answer."""
        done = host.run(["python3", "-c", TRY, self.url], check=False)
        return done.returncode == 0 and ANSWER in done.stdout


@contextmanager
def cut(settings: LabSettings, hosts: Mapping[str, Host]) -> Iterator[None]:
    """Let hosts begin nothing but with each other: no index, no mirror, no name server.

    What the machine asks them is answered: it is where the operator sits. And no host has the
    folder of wheels that the lab has given it.
    """
    others = [("-d", host.address, "-j", "RETURN") for host in hosts.values()]
    rules = [
        *(["-o", "lo", "-j", "RETURN"], ["-p", "tcp", "!", "--syn", "-j", "RETURN"]),
        *([*rule] for rule in others),
        ["-j", "REJECT"],
    ]
    with ExitStack() as back:
        for host in hosts.values():
            host.run(["iptables", "-N", CHAIN])
            back.callback(host.run, ["iptables", "-X", CHAIN])
            back.callback(host.run, ["iptables", "-F", CHAIN])
            for rule in rules:
                host.run(["iptables", "-A", CHAIN, *rule])
            host.run(["iptables", "-I", "OUTPUT", "-j", CHAIN])
            back.callback(host.run, ["iptables", "-D", "OUTPUT", "-j", CHAIN])
            host.run(["mount", "-t", "tmpfs", "-o", "ro", "none", settings.wheelhouse_mount])
            back.callback(host.run, ["umount", settings.wheelhouse_mount])
        yield


@contextmanager
def configured_index(hosts: Mapping[str, Host], url: str) -> Iterator[None]:
    """Have every pip of the hosts know an index, which it asks where nobody forbids it."""
    with ExitStack() as back:
        for host in hosts.values():
            back.callback(host.put, PIP_CONF, host.read(PIP_CONF))
            name = url.split("/")[2].partition(":")[0]
            host.put(PIP_CONF, f"[global]\nindex-url = {url}\ntrusted-host = {name}\nretries = 0\n")
        yield
