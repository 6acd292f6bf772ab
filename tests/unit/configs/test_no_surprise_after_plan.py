# SPDX-License-Identifier: Apache-2.0
"""Faults that can be known are told by a plan's check, in words that help, and nothing is changed.

The recipes and the steps are the real ones, as hosts run them; the host is a directory with
programs that say what those of such a host say.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import re
import shlex
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from library import engine as library_engine
from library import message, packages, progress, recipe

from novadocker_actions import recipes

from .certificates import Authority
from .conftest import Programs
from .engine import engine
from .registry import Registry, serving

OURS = recipes.settings_of("install_docker", "compute", {"docker": {}})["daemon_settings"]
DRIVER = {"wheel": "nova_docker-1.0-py3-none-any.whl", "sha256": "0" * 64, "url": "", "index": ""}
COMPUTE = recipes.settings_of("configure_compute", "compute", {})
GLANCE = recipes.settings_of("configure_glance", "glance", {})
# Commands that change a host.
CHANGING = re.compile(
    r"systemctl (?!show)|apt-get (?!.* -s |.*Dir::State::lists=)|dnf .*-y |rpm -[eiU]|dpkg "
    r"|usermod|gpasswd|groupadd|groupdel"
)
UNMET = """The following packages have unmet dependencies:
 docker.io : Depends: containerd (>= 1.2.6) but 1.0 is to be installed
"""


@dataclass
class Host:
    """A host in a directory.

    :param units: what systemctl shows of each
    :param answers: of the engine
    """

    root: pathlib.Path
    program: Programs
    units: dict[str, str] = field(default_factory=dict)
    answers: dict[tuple[str, str], tuple[int, Any]] = field(default_factory=dict)

    def file(self, name: str, text: str = "", mode: int = 0o644) -> None:
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def unit(self, name: str, *command: str, active: bool = True, **more: str) -> None:
        state = "active" if active else "inactive"
        lines = ["LoadState=loaded", f"ActiveState={state}", "SubState=x", "MainPID=0"]
        lines += [f"ExecStart={{ path=x ; argv[]={' '.join(command)} ; ignore_errors=no ; }}"]
        self.units[name] = "\n".join([*lines, *(f"{key}={value}" for key, value in more.items())])

    def engine(self, *flags: str, active: bool = True, **settings: Any) -> None:
        """Give the host an engine of the operator's, which takes what it is given."""
        self.file("/usr/bin/dockerd")
        self.unit("docker.service", "/usr/bin/dockerd", *flags, active=active)
        self.answers = {
            ("GET", "/_ping"): (200, "OK"),
            ("GET", "/containers/json"): (200, []),
            ("GET", "/info"): (200, {"LiveRestoreEnabled": False}),
        }
        if settings:
            self.file("/etc/docker/daemon.json", json.dumps(settings))

    def tried(self, said: str) -> None:
        """Have an engine that is tried end with these words."""
        words = shlex.quote(said)
        body = 'while [ "$1" != /usr/bin/dockerd ]; do shift; done; shift; exec dockerd "$@"'
        self.program("unshare", body)
        self.program("dockerd", f"echo {words} >&2; exit 1")

    def apt(self, text: str = "", fault: str = "", **states: str) -> None:
        """Have apt-get's simulation say this."""
        code = 100 if fault else 0
        self.program(
            "apt-get", f"echo {shlex.quote(text)}; echo {shlex.quote(fault)} >&2; exit {code}"
        )
        wants = "".join(f"{name} {state}\\n" for name, state in states.items())
        self.program("dpkg-query", f"printf {shlex.quote(wants)}")

    def nova(self, unit: str = "nova-compute.service", **answers: Any) -> None:
        """Give the host a nova-compute whose Python answers probes like this; text is a fault."""
        known = {
            "inventory": {"packages": {"nova": "34.0.0"}, "archives": {}, "virtual": True},
            "effective_options": {"DEFAULT": {"compute_driver": COMPUTE["compute_driver"]}},
            "versions": {"nova-docker": None, "nova": "34.0.0", "python": "3.11"},
            **answers,
        }
        self.python("python3-of-nova", known)
        python = self.root.parent / "bin" / "python3-of-nova"
        self.unit(unit, str(python), "/usr/bin/nova-compute")

    def python(self, name: str, answers: dict[str, Any]) -> None:
        cases = []
        for probe, answer in answers.items():
            say = f"echo {shlex.quote(json.dumps(answer))}"
            if isinstance(answer, str):
                say = f"echo {shlex.quote(answer)} >&2; exit 1"
            cases.append(f"*'json.dumps({probe}('*) {say};;")
        self.program(name, f'case "$2" in {" ".join(cases)} esac')

    def ready(self) -> None:
        """Have systemctl show the units that the host has."""
        shown = " ".join(
            f"*' {name}') echo {shlex.quote(text)};;" for name, text in self.units.items()
        )
        self.program("systemctl", f'case "$*" in {shown} *) echo LoadState=not-found;; esac')


Fault = tuple[str, str, dict[str, Any], Callable[[Host], None], str]


def docker(**daemon: Any) -> dict[str, Any]:
    return {"daemon_settings": {**OURS, **daemon}, "users": []}


def with_containers(host: Host) -> None:
    host.engine()
    running = {"Names": ["/ops-db"], "HostConfig": {"NetworkMode": "host"}}
    host.answers["GET", "/containers/json"] = (200, [running])
    host.program("unshare", "echo 'unshare: unshare failed' >&2; exit 1")


def with_policy(host: Host) -> None:
    host.file("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)


def with_swarm(host: Host) -> None:
    host.engine()
    host.file("/var/lib/docker/swarm/docker-state.json", "{}")


def masked(host: Host) -> None:
    host.engine(active=False)
    for name in ("docker.service", "containerd.service"):
        path = host.root / "etc/systemd/system" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to("/dev/null")


def refused_by_engine(said: str, **settings: Any) -> Callable[[Host], None]:
    def prepare(host: Host) -> None:
        host.engine(**settings)
        host.tried(said)

    return prepare


def with_glance(*command: str, active: bool = True) -> Callable[[Host], None]:
    return lambda host: host.unit("glance-api.service", *command, active=active)


def with_files_of_glance(host: Host) -> None:
    ops = "/etc/glance/glance-api.conf.d/99-ops.conf"
    told = {"formats": ["bare"], "set_by": ops, "directories": []}
    host.python("python3-of-glance", {"glance_formats": told})
    python = host.root.parent / "bin" / "python3-of-glance"
    host.unit("glance-api.service", str(python), "/usr/bin/glance-api")


# The row that it is of, the step that would fail, what that is given, the fault, what is told.
FAULTS: dict[str, Fault] = {
    "a file that is no JSON": (
        *("K1.2", "install_docker", docker()),
        lambda h: (h.engine(), h.file("/etc/docker/daemon.json", "{,"))[0],
        "/etc/docker/daemon.json is not JSON",
    ),
    "hardening against no packet filter": (
        *("K2.2", "install_docker", docker(iptables=False)),
        refused_by_engine("failed to start daemon: icc=false with iptables=false"),
        "the engine refuses the settings that it would get: failed to start daemon: icc=false with "
        "iptables=false. Mend /etc/docker/daemon.json or the flags of docker.service",
    ),
    "options of logs that a driver does not know": (
        *("K2.1", "install_docker", docker(**{"log-opts": {"tag": "x", "no-such": "1"}})),
        refused_by_engine("unknown log opt 'no-such' for journald", **{"log-driver": "journald"}),
        "unknown log opt 'no-such' for journald. Mend",
    ),
    "a key in the file and a flag": (
        *("K2.3", "install_docker", docker()),
        lambda h: h.engine("--live-restore", **{"live-restore": True}),
        "live-restore is set in /etc/docker/daemon.json and as a flag of docker.service",
    ),
    "containers that a restart would stop": (
        *("K2.4", "install_docker", docker(**{"live-restore": False})),
        with_containers,
        "containers run on this host and a restart of the engine would stop them",
    ),
    "an engine with data elsewhere": (
        *("K2.7", "install_docker", docker(**{"data-root": "/srv/docker"})),
        lambda h: h.engine(),
        "keeps its data in /var/lib/docker already",
    ),
    "the engine of a snap": (
        *("K2.9", "install_docker", docker()),
        lambda h: h.file("/snap/bin/dockerd"),
        "this host has the Docker Engine of a snap (/snap/bin/dockerd)",
    ),
    "a node of a swarm": (
        *("K1.2", "install_docker", docker()),
        with_swarm,
        "is a node of a Docker Swarm",
    ),
    "an engine without a unit": (
        *("K1.1", "install_docker", docker()),
        lambda h: h.file("/usr/bin/dockerd"),
        "dockerd is installed but has no docker.service: make one",
    ),
    "a policy against services": (
        *("K1.1", "install_docker", docker()),
        with_policy,
        "/usr/sbin/policy-rc.d forbids docker to start on this host",
    ),
    "a package that is held": (
        *("K1.3", "install_docker", docker()),
        lambda h: h.apt(UNMET, "E: Unable to correct problems", containerd="hold"),
        "Depends: containerd (>= 1.2.6) but 1.0 is to be installed E: Unable to correct problems "
        "(containerd is held: `apt-mark unhold containerd`, then repeat)",
    ),
    "the containerd.io of Docker's repository": (
        *("K4.2", "install_docker", docker()),
        lambda h: h.apt("Remv containerd.io [1.7]\nInst docker.io (20.10)"),
        "would remove containerd.io, in conflict with it or what it needs: it is from Docker's own",
    ),
    "podman's docker": (
        *("K1.3", "install_docker", docker()),
        lambda h: h.apt("Remv podman-docker [4]\nInst docker.io (20.10)"),
        "remove it (`apt-get remove podman-docker`), or leave the host out",
    ),
    "a package that would be upgraded": (
        *("K1.3", "install_docker", docker()),
        lambda h: h.apt("Inst iptables [1.8] (1.9)\nInst docker.io (20.10)"),
        "would upgrade packages of this host (iptables): bring them up to date first",
    ),
    "a key that the engine to come does not know": (
        *("K1.2", "install_docker", docker(proxies={"http-proxy": "http://proxy:3128"})),
        lambda h: h.apt("Inst docker.io (20.10.24+dfsg1-1+deb12u1 Debian:12.5/stable [amd64])"),
        "it would be Docker 20.10.24+dfsg1-1+deb12u1, which does not know proxies. Mend",
    ),
    "a bridge, a profile and a user that an engine to come would look for": (
        *("K1.2", "install_docker"),
        docker(**{"bridge": "br-x", "seccomp-profile": "/etc/x", "userns-remap": "nosuchuser"}),
        lambda h: None,
        "bridge is br-x, and this host has no such device; seccomp-profile is /etc/x, and there is "
        "no such file; userns-remap is nosuchuser, and this host has no user nosuchuser. Mend",
    ),
    "a runtime and a socket that an engine to come would look for": (
        *("K1.2", "install_docker"),
        docker(
            **{
                "default-runtime": "kata",
                "log-driver": "syslog",
                "log-opts": {"syslog-address": "unix:///run/log"},
            }
        ),
        lambda h: None,
        "syslog-address is unix:///run/log, and there is no such socket; default-runtime is kata, "
        "which none of runtimes is called. Mend",
    ),
    "a daemon.json with hosts that waits for an engine": (
        *("K2.3", "install_docker", docker()),
        lambda h: h.file("/etc/docker/daemon.json", '{"hosts": ["fd://"]}'),
        "hosts is set, and the package's unit sets it as a flag: take it out, or give the unit a",
    ),
    "a file where an engine's data would be": (
        *("K2.7", "install_docker", docker()),
        lambda h: h.file("/var/lib/docker"),
        "/var/lib/docker, where its data would be, is no directory",
    ),
    "a unit of the engine's that is masked": (
        *("K1.1", "install_docker", docker()),
        masked,
        "docker.service containerd.service is masked on this host, so the engine cannot be started",
    ),
    "a file where a directory would be": (
        *("K2.5", "install_docker", docker()),
        lambda h: h.file("/etc/docker"),
        "/etc/docker is no directory, which ",
    ),
    "a package that a pin hides": (
        *("K1.3", "install_docker", docker()),
        lambda h: h.apt("", "E: Package 'docker.io' has no installation candidate"),
        "take back the pin that hides it (`apt-cache policy` tells), then repeat",
    ),
    "a repository without its key": (
        *("K1.3", "install_docker", docker()),
        lambda h: h.apt("", "E: The repository 'http://a.test x InRelease' is not signed."),
        "is not signed. (mend or take out the repository that it names",
    ),
    "a repository that dnf cannot reach": (
        *("K4.3", "install_docker", docker()),
        lambda h: h.program(
            "dnf",
            "echo \"Error: Failed to download metadata for repo 'ops': Cannot download it\" >&2; "
            "exit 1",
        ),
        "dnf cannot tell whether a repository of this host has moby-engine: Failed to download "
        "metadata for repo 'ops': Cannot download it. Mend what it names",
    ),
    "docker-ce against runc": (
        *("K4.3", "install_docker", docker()),
        lambda h: (
            h.program("rpm", "exit 0"),
            h.program(
                "dnf",
                'case "$*" in *list*docker-ce) ;; *list*) exit 1;; *) echo "Error: Problem: '
                'containerd.io conflicts with runc" >&2; exit 1;; esac',
            ),
        )[0],
        "dnf cannot install docker-ce: Error: Problem: containerd.io conflicts with runc. Remove",
    ),
    "no repository with an engine": (
        *("K4.3", "install_docker", docker()),
        lambda h: h.program("dnf", "exit 1"),
        "no repository of this host has moby-engine or docker-ce: add one",
    ),
    "no wheel of the driver": (
        *("K1.1", "install_driver", DRIVER),
        lambda h: h.nova(),
        "this host has no wheel nova_docker-1.0-py3-none-any.whl, SHA-256 000000",
    ),
    "no nova-compute": (
        *("K1.1", "configure_compute", COMPUTE),
        lambda h: None,
        "no nova-compute unit on this host (looked for nova-compute.service",
    ),
    "a Python of Nova's that cannot be told": (
        *("K1.1", "configure_compute", COMPUTE),
        lambda h: h.unit("nova-compute.service", "/opt/nova/run"),
        "its Python cannot be told from the unit's command",
    ),
    "options that win over the drop-in": (
        *("K1.1", "configure_compute", COMPUTE),
        lambda h: h.nova(effective_options={"DEFAULT": {"compute_driver": "libvirt.X"}}),
        "something overrides /etc/nova/nova-compute.conf.d/90-novadocker.conf even as the last",
    ),
    "a driver that does not load": (
        *("K1.1", "configure_compute", COMPUTE),
        lambda h: h.nova(
            versions={"nova-docker": "1.0"}, nova_driver="ImportError: no module named docker"
        ),
        "the driver does not load in the environment of ",
    ),
    "a Glance that does not run": (
        *("K6.1", "configure_glance", GLANCE),
        with_glance("/opt/glance/run", active=False),
        "glance-api.service is inactive/x: start it, then repeat",
    ),
    "a Glance under an unknown uWSGI": (
        *("K6.1", "configure_glance", GLANCE),
        with_glance("/usr/bin/uwsgi", "--ini", "/no/such.ini"),
        "glance-api.service runs uwsgi, whose Python cannot be told: add docker to",
    ),
    "a Glance in a container": (
        *("K6.1", "configure_glance", GLANCE),
        lambda h: h.file("/etc/kolla/glance-api/glance-api.conf"),
        "kolla-ansible reconfigure --tags glance",
    ),
    "a file of Glance's that wins": (
        *("K6.1", "configure_glance", GLANCE),
        with_files_of_glance,
        "/etc/glance/glance-api.conf.d/99-ops.conf wins",
    ),
}


@pytest.fixture
def host(
    root: pathlib.Path,
    tmp_path: pathlib.Path,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Host]:
    made = Host(root, programs)
    monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
    made.apt("Inst docker.io (20.10)")
    programs("unshare", "echo 'unshare: unshare failed' >&2; exit 1")
    with engine(tmp_path / "s", made.answers):
        yield made


def listing(root: pathlib.Path) -> list[tuple[Any, ...]]:
    """Return all that a host's files are; what is in /run goes with its next start."""
    told = []
    for path in sorted(root.rglob("*")):
        if path.relative_to(root).parts[0] == "run":
            continue
        state = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(state.st_mode) else b""
        digest = hashlib.sha256(content).hexdigest()
        told.append((str(path), state.st_mode, state.st_mtime_ns, state.st_size, digest))
    return told


def checked(root: pathlib.Path, step: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the report of a message by which a plan asks a host."""
    sent = message.Message(
        host="h",
        push_id="p",
        run_id="r",
        mode="check",
        expires_at=int(time.time()) + 300,
        timeout_s=180,
        package="0" * 64,
        steps=((step, settings),),
    )
    told = progress.Progress(root, "", sent, "log")
    return recipe.run_recipe(sent, recipe.parts_of(sent), root, "log", told)


def prepare(host: Host, fault: Callable[[Host], None], socket: dict[Any, Any]) -> None:
    fault(host)
    socket.update(host.answers)
    host.ready()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.field_case(fault[0]), id=name)
        for name, fault in FAULTS.items()
    ],
)
def test_a_plan_tells_it_and_changes_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, calls: Any, name: str
) -> None:
    row, step, settings, fault, said = FAULTS[name]
    socket = host.answers
    prepare(host, fault, socket)
    if row == "K4.3":
        monkeypatch.setattr(packages, "MANAGERS", (packages.Dnf,))
    before = listing(host.root)

    report = checked(host.root, step, settings)

    assert said in report["reason"]
    assert not report["steps"][0]["ok"]
    assert listing(host.root) == before
    assert [call for call in calls() if CHANGING.match(call)] == []


@pytest.mark.field_case("K1.1")
@pytest.mark.parametrize(
    "unit", ["kolla-nova_compute-container.service", "edpm_nova_compute.service"]
)
def test_a_nova_in_a_container_is_told_by_what_describes_the_host(host: Host, unit: str) -> None:
    host.file("/etc/os-release", "ID=debian\n")
    host.unit(unit, "/usr/bin/podman", "start", "nova_compute")
    host.ready()
    before = listing(host.root)

    report = checked(host.root, "describe_host", {})

    assert f"runs in a container ({unit})" in report["steps"][0]["facts"]["nova"]["hindrance"]
    assert listing(host.root) == before


def with_helper(host: Host) -> None:
    host.file("/root/.docker/config.json", '{"credsStore": "gone"}')


def with_broken_file(host: Host) -> None:
    host.file("/etc/docker/daemon.json", "[]")


@pytest.mark.field_case("K5.3")
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (with_helper, "there is no docker-credential-gone on this host: install it"),
        (with_broken_file, "/etc/docker/daemon.json does not hold an object: mend it"),
    ],
)
def test_what_keeps_a_controller_from_asking_registries_is_told(
    host: Host, fault: Callable[[Host], None], said: str
) -> None:
    fault(host)
    host.ready()
    before = listing(host.root)

    report = checked(host.root, "check_images", {"images": ["reg.invalid/app:1"]})

    assert said in report["reason"]
    assert listing(host.root) == before


@pytest.mark.field_case("K5.6")
def test_a_registry_and_a_glance_that_cannot_be_used_are_told(
    host: Host, tmp_path: pathlib.Path
) -> None:
    host.ready()
    before = listing(host.root)
    with serving(Registry, Authority(tmp_path).signed("glance")) as place:
        url, lacking = f"https://{place}", f"{place}/org/app:1.3"
        given = {"images": [lacking, "nobody.invalid/app:1"], "glance_url": url}
        report = checked(host.root, "check_images", given)

    facts = report["steps"][0]["facts"]
    assert "no such image" in facts[lacking]["reason"]
    assert facts["nobody.invalid/app:1"]["ok"] is False
    assert "its certificate is not trusted" in facts[url]["reason"]
    assert listing(host.root) == before


def test_enough_faults_are_tried() -> None:
    assert len(FAULTS) >= 20
