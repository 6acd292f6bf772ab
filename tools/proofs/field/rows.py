# SPDX-License-Identifier: Apache-2.0
"""What was found in the field: inputs as operators and tenants really have them, by kind.

Each row has tests of its own, marked with its name: ``@pytest.mark.field_case("K5.1")``.
"""

from __future__ import annotations

KINDS = {
    "K1": "What a plan says holds on the host",
    "K2": "The operator's own engine: daemon.json, flags, containers",
    "K3": "What an engine does to its host's network",
    "K4": "Package managers",
    "K5": "Registries as the engine sees them, and the way to Glance",
    "K6": "Glance as it is deployed",
    "K7": "Nova and Placement as they are",
    "K8": "Images of all builders",
    "K9": "What a program in a container expects",
}

ROWS = {
    "K1.1": "a host that was never converted is asked by the check of every step of its role",
    "K1.2": "the merged daemon.json is tried by starting the engine with its unit's flags",
    "K1.3": "a package that is held or in conflict is named, in the package manager's words",
    "K1.4": "all findings of all hosts are in one refusal, those that are alike together",
    "K2.1": "log-driver journald, fluentd, gelf: they get no limits of log files",
    "K2.2": "icc false, no-new-privileges, no userland-proxy: hardening keeps its meaning",
    "K2.3": "flags of the unit, in DOCKER_OPTS or a drop-in: not written to the file as well",
    "K2.4": "containers of the operator on bridge networks keep them",
    "K2.5": "daemon.json is a link: it stays one",
    "K2.6": "input docker with keys or types that no engine takes: refused by name",
    "K2.7": "/var/lib/docker is a file system of its own: emptied but for lost+found",
    "K2.8": "packet filter rules of the operator's about 172.17/16 stay",
    "K2.9": "the engine of a snap: refused",
    "K3.1": "net.ipv4.ip_forward is not switched on, or is put back",
    "K3.2": "controllers get neither docker0 nor packet filter rules",
    "K4.1": "another process holds one of apt's locks: waited for, then named",
    "K4.2": "containerd.io of Docker's own repository: the way is told",
    "K4.3": "docker-ce against podman and runc: dnf's own words, before anything",
    "K4.4": "needrestart, debconf, conffiles: an installation restarts and asks nothing",
    "K4.5": "no apparmor_parser: a container is really started before the host is in service",
    "K5.1": "registries without TLS: localhost, networks, by file, flag or the run's input",
    "K5.2": "proxies in daemon.json, in drop-ins of the unit, in the run's input",
    "K5.3": "credential helpers, stores, keys that are addresses, identity tokens",
    "K5.4": "localhost/app:1 is no image of Docker Hub's",
    "K5.5": "an image of 40 GB: the engine and Glance may be silent while they work",
    "K5.6": "Glance behind an authority of the cloud's own",
    "K5.7": "tokens of 447 bytes and more are sealed",
    "K6.1": "Glance under uWSGI, in Apache, in containers, with further files",
    "K6.2": "more nodes of Glance behind a balancer than are enrolled",
    "K7.1": "Nova lists the host by its full name: the name is kept",
    "K7.2": "unconfirmed resizes, running migrations and evacuations count as instances",
    "K7.3": "traits of the driver before are gone after deploy, ours after undeploy",
    "K7.4": "a cell of Nova's is down: its hosts are named and left out",
    "K7.5": "hypervisors are asked by a microversion that a restarting compute cannot break",
    "K8.1": "archives of podman, skopeo, buildah and others",
    "K8.2": "indexes with two tags, several platforms, artifacts",
    "K8.3": "32 bits, an image in two entries, names with .., no padding at the end",
    "K8.4": "an image store that takes a limit of disks and sets none is found out",
    "K9.1": "a subnet without name servers: none of the host's",
    "K9.2": "ping $(hostname): the name is known inside",
    "K9.3": "IPv6 by an external router's advertisements: a default route",
    "K9.4": "engines without a limit of open files: a sane one",
    "K9.5": "another command or entry point for one server",
    "K9.6": "docker system prune on a compute host: told, and nothing of Nova's is taken",
}
