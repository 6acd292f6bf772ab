# SPDX-License-Identifier: Apache-2.0
"""What is measured on a Docker host itself: pairs of containers, memory, requests to the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import LabError
from lab.hosts.access import Host

TIMEOUT_S = 600

_SPAWNED = re.compile(
    r"instance: (?P<id>[0-9a-f-]{36})\].* Took (?P<took>[0-9.]+) seconds to spawn"
)

# Make, or remove, pairs of containers with all the settings of those of an instance: what the
# engine says of the originals is asked of it again. They differ in name, labels and host name.
_PAIRS = r"""
import json, sys, time
import docker
action, instance, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
client = docker.APIClient(version="auto")

def settings(name):
    details = client.inspect_container(name)
    own = ("Hostname", "Domainname")
    config = {key: value for key, value in details["Config"].items() if key not in own}
    config["Labels"] = {key.replace("org.openstack.nova.", "novadocker.benchmark."): value
                        for key, value in config["Labels"].items()}
    return {**config, "HostConfig": details["HostConfig"]}

names = [("bench-sandbox-%d" % number, "bench-workload-%d" % number) for number in range(count)]
times = []
if action == "make":
    sandbox, workload = settings("nova-sandbox-" + instance), settings("nova-" + instance)
    for sandbox_name, workload_name in names:
        workload["HostConfig"]["NetworkMode"] = "container:" + sandbox_name
        began = time.monotonic()
        client.create_container_from_config(sandbox, sandbox_name)
        client.start(sandbox_name)
        client.create_container_from_config(workload, workload_name)
        client.start(workload_name)
        times.append(time.monotonic() - began)
else:
    for pair in names:
        for name in reversed(pair):
            try:
                client.remove_container(name, force=True)
            except docker.errors.NotFound:
                pass
print(json.dumps(times))
"""

# Add up the memory of processes, shared pages divided among those that share them.
_MEMORY = r"""
import json, os, re
memory = {"nova_kb": 0, "containers_kb": 0, "engine_kb": 0}
ours = os.readlink("/proc/self/ns/pid")
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        with open("/proc/%s/cmdline" % pid) as opened:
            line = opened.read().split("\0")
        with open("/proc/%s/smaps_rollup" % pid) as opened:
            kb = int(re.search(r"^Pss:\s+(\d+)", opened.read(), re.M).group(1))
        contained = os.readlink("/proc/%s/ns/pid" % pid) != ours
    except (OSError, AttributeError):
        continue
    # The program itself, perhaps after its interpreter; what is said further on may be this text.
    program = " ".join(line[:2])
    if contained or "containerd-shim" in program:
        memory["containers_kb"] += kb
    elif "dockerd" in program or "containerd" in program:
        memory["engine_kb"] += kb
    elif "nova-compute" in program:
        memory["nova_kb"] += kb
    elif "privsep-helper" in program and "neutron" not in " ".join(line):
        memory["nova_kb"] += kb
print(json.dumps(memory))
"""

# Count the requests that the driver makes of the engine for what is asked of it about all
# instances. Each is asked twice: connections and versions are agreed upon by the first.
_REQUESTS = r"""
import json
import docker
import nova.conf
nova.conf.CONF([], project="nova", prog="nova-compute", version="0")
from novadocker.virt.docker.driver import DockerDriver
made, send = [], docker.APIClient.send
def counted(self, request, **kwargs):
    made.append(request.url)
    return send(self, request, **kwargs)
docker.APIClient.send = counted
driver = DockerDriver(None)
node = driver.get_available_nodes()[0]
calls = {
    "list_instances": driver.list_instances,
    "list_instance_uuids": driver.list_instance_uuids,
    "get_num_instances": driver.get_num_instances,
    "get_available_resource": lambda: driver.get_available_resource(node),
}
requests = {}
for name, call in calls.items():
    call()
    del made[:]
    call()
    requests[name] = len(made)
print(json.dumps({"instances": driver.get_num_instances(), "requests": requests}))
"""


class DockerHost:
    """A host of the lab with the driver.

    :param python: a Python there that has the driver and the Docker SDK
    """

    def __init__(self, host: Host, python: str) -> None:
        self._host = host
        self._python = python

    def pair_seconds(self, server_id: str) -> float:
        """Measure what Docker takes to make and start the pair of containers of an instance.

        :param server_id: an instance that runs there, whose settings they have
        """
        try:
            (took_s,) = self.make_pairs(server_id, 1)
        finally:
            self.remove_pairs(server_id, 1)
        return took_s

    def make_pairs(self, server_id: str, count: int) -> list[float]:
        """Make pairs of containers that are like those of an instance.

        :return: the seconds that each took
        """
        seconds: list[float] = self._run(_PAIRS, "make", server_id, str(count))
        return seconds

    def remove_pairs(self, server_id: str, count: int) -> None:
        """Remove those pairs, as far as they are there."""
        self._run(_PAIRS, "remove", server_id, str(count))

    def memory(self) -> dict[str, int]:
        """Measure memory in KB: of nova-compute with its helpers, of containers, of the engine."""
        memory_kb: dict[str, int] = self._run(_MEMORY)
        return memory_kb

    def requests(self) -> dict[str, Any]:
        """Count the requests that calls about all instances take.

        :return: how many instances there are, and the requests by method of the driver
        """
        counted: dict[str, Any] = self._run(_REQUESTS)
        return counted

    def spawn_seconds(self, server_ids: Sequence[str]) -> list[float]:
        """Read from nova-compute's journal what the driver took for some servers, in their order.

        :raises LabError: it does not say so of each
        """
        argv = ["journalctl", "--unit=nova-compute", "--output=cat", "--no-pager", "--since=-2h"]
        took = spawned(self._host.run(argv).stdout)
        missing = [server_id for server_id in server_ids if server_id not in took]
        if missing:
            raise LabError(f"{self._host.name}: nova-compute does not tell of spawning {missing}")
        return [took[server_id] for server_id in server_ids]

    def _run(self, script: str, *arguments: str) -> Any:
        done = self._host.run([self._python, "-c", script, *arguments], timeout_s=TIMEOUT_S)
        return json.loads(done.stdout.splitlines()[-1])


def spawned(journal: str) -> Mapping[str, float]:
    """Return the seconds that nova-compute says each instance took to spawn, by ID."""
    return {match["id"]: float(match["took"]) for match in _SPAWNED.finditer(journal)}
