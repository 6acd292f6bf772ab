# SPDX-License-Identifier: Apache-2.0
"""A nova-compute in a container of kolla-ansible's: found, given the driver, and put back.

The container is a directory and a process of this machine; its Python and its pip are real ones.
"""

from __future__ import annotations

import getpass
import grp
import json
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import configure_compute
import describe_host
import install_docker
import install_driver
import pip
import pytest
import verify_host
from library import (
    compute_container,
    container_config,
    container_options,
    container_restarts,
    driver_leftovers,
    engine_access,
    faults,
    instances,
    outcome,
    processes,
    services,
)
from library import engine as library_engine
from library import wheels as store

from .conftest import Calls, Make, Programs
from .engine import engine
from .made_wheels import file_of, sha256, wheel

UNIT = "kolla-nova_compute-container.service"
FOLDER = "etc/kolla/nova-compute"
SETTINGS = {"compute_driver": "novadocker.virt.docker.DockerDriver", "options": {}}
ENTRY = {
    "source": "/var/lib/kolla/config_files/nova.conf",
    "dest": "/etc/nova/nova.conf",
    "owner": "nova",
    "perm": "0600",
}
# Set as kolla-ansible's template is, which no program would set so.
CONFIG = '{\n  "command": "nova-compute",\n\n  "config_files": [%s],\n    "permissions": []\n}\n'
MOUNTS = (
    ("/etc/kolla/nova-compute", "/var/lib/kolla/config_files", "rprivate"),
    ("/run", "/run", "shared"),
    ("/var/lib/docker/volumes/nova_compute/_data", "/var/lib/nova", ""),
)
# Runs what it is told to in the container, and says what it was told.
DOCKER = """
[ "$1" != cp ] || stat -c %a "$2" > {root}/mode
case "$* " in cp*|*" rm -rf "*) [ ! -e {root}/fails ] || {{ echo it went away >&2; exit 1; }};; esac
[ "$1" = exec ] || exit 0
shift 3
while [ "$1" = -e ]; do shift 2; done
shift
case "$1" in id) echo {gid};; rm*) ;; sudo) exit 1;; *) exec "$@";; esac
"""


@dataclass
class Kolla:
    """A host with such a container.

    :param answers: of the engine, which may be changed
    """

    root: pathlib.Path
    programs: Programs
    answers: dict[Any, Any]
    python: pathlib.Path
    pid: int = 0
    command: list[str] = field(default_factory=list)
    unit: str = "/usr/bin/docker start -a nova_compute"
    state: str = "active"

    @property
    def folder(self) -> pathlib.Path:
        return self.root / FOLDER

    @property
    def config(self) -> pathlib.Path:
        return self.folder / "config.json"

    def write(self, *entries: dict[str, str], command: str = "nova-compute") -> None:
        """Write what kolla-ansible writes."""
        text = CONFIG % ", ".join(json.dumps(entry) for entry in (ENTRY, *entries))
        self.config.write_text(text.replace('"nova-compute"', json.dumps(command)))

    def ours(self) -> dict[str, str]:
        """Return what is copied into the container of this bundle's, by its place in there."""
        files = json.loads(self.config.read_text())["config_files"]
        return {item["dest"]: item["source"] for item in files if "novadocker" in item["source"]}

    def container(self, **more: Any) -> None:
        """Have the engine tell of the container."""
        mounts = [{"Source": a, "Destination": b, "Propagation": c} for a, b, c in MOUNTS]
        told = {
            "Id": "first",
            "State": {"Running": bool(self.pid), "Pid": self.pid},
            "Config": {"User": getpass.getuser()},
            "HostConfig": {"NetworkMode": "host", "Privileged": True},
            "Mounts": mounts,
            **more,
        }
        self.answers["GET", "/containers/nova_compute/json"] = (200, told)

    def ready(self, *, member: bool = True, dead_unit: str = "none.service") -> None:
        """Have systemctl and docker answer.

        :param dead_unit: one that is installed, and not started
        """
        lines = ["LoadState=loaded", f"ActiveState={self.state}", "SubState=x", "MainPID=0"]
        lines += [f"ExecStart={{ path=x ; argv[]={self.unit} ; ignore_errors=no ; }}"]
        shown = shlex.quote("\n".join(lines))
        engine_shown = shlex.quote(
            "LoadState=loaded\nActiveState=active\nMainPID=0\n"
            f"WantedBy=multi-user.target kolla-cron-container.service {UNIT}\n"
            "ExecStart={ path=x ; argv[]=/usr/bin/dockerd ; ignore_errors=no ; }"
        )
        self.programs(
            "systemctl",
            f"case \"$*\" in *' {UNIT}') echo {shown};; *' docker.service') echo {engine_shown};; "
            f"*' {dead_unit}') printf 'LoadState=loaded\nActiveState=inactive\n';; "
            "*) echo LoadState=not-found;; esac",
        )
        groups = " ".join(map(str, os.getgroups() if member else [0]))
        self.programs("docker", DOCKER.format(gid=groups, root=self.root))


@pytest.fixture
def kolla(
    root: pathlib.Path,
    tmp_path: pathlib.Path,
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Kolla]:
    """A host on which kolla-ansible has deployed nova-compute, which runs."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    (site / "pip").symlink_to(pathlib.Path(pip.__file__).parent)
    program = place / "bin/nova-compute"
    program.write_text("import time\ntime.sleep(600)\n")
    (root / FOLDER).mkdir(parents=True)
    (root / "var/lib/docker/volumes/nova_compute/_data").mkdir(parents=True)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/dockerd").touch()
    answers: dict[Any, Any] = {("GET", "/containers/json"): (200, [])}
    monkeypatch.setattr(library_engine, "DOCKER_SOCKET", str(tmp_path / "s"))
    python = place / "bin/python"
    # The container's first process is not nova-compute itself.
    argv = ["sh", "-c", f"{python} {program} & wait"]
    with subprocess.Popen(argv, start_new_session=True) as process, engine(tmp_path / "s", answers):
        made = Kolla(root, programs, answers, python, process.pid)
        made.write()
        made.container()
        made.ready()
        while not processes.process_below(process.pid, "nova-compute"):
            assert process.poll() is None
        yield made
        os.killpg(process.pid, 9)


def run(
    make_step: Make, module: Any, mode: str = "apply", run_id: str = "one", **given: Any
) -> Any:
    step = make_step(module.__name__, mode, **given)
    step.run_id = run_id
    step.begin()
    undo = getattr(module, "undo", None)
    outcome.work_of(mode, module.converge, undo)(step)
    return step


def listing(root: pathlib.Path) -> dict[str, Any]:
    """Return all files of a host but this bundle's own, with what they hold."""
    own = (root / "var", root / "run", root / "usr/local")
    return {
        str(path): (path.read_bytes() if path.is_file() else b"", path.stat().st_mode)
        for path in root.rglob("*")
        if not any(path.is_relative_to(place) for place in own)
    }


class TestFound:
    def test_a_service_in_a_container_is_described_by_its_process_in_there(
        self, kolla: Kolla, make_step: Make
    ) -> None:
        service = services.nova_service(make_step("s"))
        assert service.unit == UNIT
        assert service.python == str(kolla.python)
        assert service.active
        assert service.pid not in (0, kolla.pid)
        assert service.user == getpass.getuser()
        assert service.container is not None
        assert service.container.folder == f"/{FOLDER}"
        assert service.container.source("/var/lib/nova/novadocker") == (
            "/var/lib/docker/volumes/nova_compute/_data/novadocker"
        )

    def test_a_container_of_podman_s_is_no_service_that_could_be_converted(
        self, kolla: Kolla, make_step: Make
    ) -> None:
        kolla.unit = "/usr/bin/podman start -a nova_compute"
        kolla.ready()
        assert services.find_service(make_step("s"), services.NOVA_UNITS) is None

    def test_where_the_engine_is_silent_the_container_does_not_run(
        self, kolla: Kolla, make_step: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(library_engine, "DOCKER_SOCKET", "/no/such")
        monkeypatch.setattr(services, "BEGIN_S", 0)
        service = services.find_service(make_step("s"), services.NOVA_UNITS)
        assert service is not None
        assert (service.active, service.pid) == (False, 0)
        with pytest.raises(faults.StepFailed, match="nova-compute does not run in its container"):
            services.nova_service(make_step("s"))

    def test_what_describes_the_host_names_the_deployer(
        self, kolla: Kolla, make_step: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = {"nova": "34.0.0", "python": "3", "nova-docker": None}
        told |= {"compute_driver": "libvirt.X", "host": "c", "compute_id": None}
        monkeypatch.setattr(describe_host, "in_service_python", lambda *_: told)
        facts = describe_host.nova(make_step("describe_host", "check"))
        assert facts is not None
        assert (facts["unit"], facts["deployer"]) == (UNIT, "kolla-ansible")
        assert "hindrance" not in facts

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            ({"HostConfig": {"NetworkMode": "bridge", "Privileged": True}}, "on the network br"),
            ({"HostConfig": {"NetworkMode": "host"}}, "it is not privileged"),
            ({"Mounts": []}, "/run is not mounted in it as /run:/run:shared"),
            (
                {"Config": {"User": "nova", "Env": ["KOLLA_CONFIG_STRATEGY=COPY_ONCE"]}},
                r"it takes its configuration only once \(config_strategy in globals.yml",
            ),
        ],
    )
    def test_a_container_in_which_the_driver_cannot_work_is_refused(
        self, kolla: Kolla, make_step: Make, more: Any, said: str
    ) -> None:
        kolla.container(**more)
        with pytest.raises(faults.StepFailed, match=f"{said}.*leave the host out"):
            run(make_step, configure_compute, "check", **SETTINGS)

    @pytest.mark.parametrize(("propagation", "fit"), [("shared", True), ("rprivate", False)])
    def test_a_further_mount_of_what_it_sees_of_the_host_does_no_harm(
        self, kolla: Kolla, make_step: Make, propagation: str, fit: bool
    ) -> None:
        mounts = [*MOUNTS, ("/run/netns", "/run/netns", propagation)]
        kolla.container(
            Mounts=[{"Source": a, "Destination": b, "Propagation": c} for a, b, c in mounts]
        )
        service = services.nova_service(make_step("s"))
        assert service.container is not None
        if fit:
            compute_container.refuse_unfit(make_step("s"), service.container, "active/running")
            return
        with pytest.raises(faults.StepFailed, match="/run is not mounted in it as /run:/run:sh"):
            compute_container.refuse_unfit(make_step("s"), service.container, "active/running")

    def test_a_container_that_was_started_without_its_unit_is_refused(
        self, kolla: Kolla, make_step: Make
    ) -> None:
        kolla.state = "inactive"
        kolla.ready()
        with pytest.raises(faults.StepFailed, match=r"inactive/x and so does not.*`docker stop no"):
            run(make_step, configure_compute, "check", **SETTINGS)

    def test_its_instances_are_told_apart_from_other_containers(
        self, kolla: Kolla, make_step: Make
    ) -> None:
        labels: list[Any] = [{instances.INSTANCE_LABEL: uuid} for uuid in ("one", "two", "two")]
        listed = [{"Id": "x", "Labels": given} for given in (*labels, {"kolla": "1"}, None)]
        kolla.answers["GET", "/containers/json"] = (200, listed)
        kolla.answers["GET", "/version"] = (200, {"Version": "20.10"})
        facts = describe_host.engine(make_step("describe_host", "check"))
        assert (facts["containers"], facts["instances"]) == (5, 2)

    def test_a_unit_that_is_dead_does_not_hide_the_container_that_runs(
        self, kolla: Kolla, make_step: Make
    ) -> None:
        kolla.ready(dead_unit="nova-compute.service")
        service = services.nova_service(make_step("s"))
        assert (service.unit, service.container is not None) == (UNIT, True)


class TestDriver:
    """The driver's packages are beside the container's configuration, and not in it."""

    @pytest.fixture
    def install(
        self, kolla: Kolla, make_step: Make, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> Any:
        folder = tmp_path / "wheels"
        folder.mkdir()
        wheel(folder, "docker", "7.1.0")
        wheel(folder, "nova-docker", "1.0", "docker>=7")
        wheel(folder, "nova-docker", "1.1", "docker>=7")
        digest = sha256(folder / file_of("docker", "7.1.0"))
        monkeypatch.setattr(
            store, "locked", lambda: [store.Locked("docker", "7.1.0", "", (digest,))]
        )
        monkeypatch.setattr(instances, "instance_containers", lambda _step: [])
        monkeypatch.setattr(install_driver, "restart_service", lambda *_args: None)
        for path in folder.glob("*.whl"):
            store.put(kolla.root, path.name, path.read_bytes())

        def install(mode: str = "apply", version: str = "1.0", run_id: str = "one") -> Any:
            path = folder / file_of("nova-docker", version)
            given = {"wheel": path.name, "sha256": sha256(path), "url": "", "index": ""}
            return run(make_step, install_driver, mode, run_id, **given)

        return install

    def packages(self, kolla: Kolla) -> list[str]:
        site = kolla.folder / "novadocker/site"
        return sorted(path.name.partition(".dist")[0] for path in site.glob("*.dist-info"))

    def test_install_repeat_and_undo(self, kolla: Kolla, install: Any) -> None:
        before = listing(kolla.root)
        of_nova = sorted(kolla.python.parents[1].rglob("*"))
        assert "into /etc/kolla/nova-compute/novadocker/site" in install("check").actions[0]
        assert listing(kolla.root) == before

        assert install().facts["driver_version"] == "1.0"
        assert self.packages(kolla) == ["docker-7.1.0", "nova_docker-1.0"]
        assert install().actions == []
        assert install("check").actions == []

        assert install("undo").actions
        assert listing(kolla.root) == before
        assert sorted(kolla.python.parents[1].rglob("*")) == of_nova
        assert {path.name for path in (kolla.root / "run").iterdir()} <= {"novadocker.lock"}

    def test_another_driver_takes_the_place_and_a_roll_back_gives_it_back(
        self, kolla: Kolla, install: Any
    ) -> None:
        install()
        assert install(version="1.1", run_id="two").facts["disturbs"] is True
        assert self.packages(kolla) == ["docker-7.1.0", "nova_docker-1.1"]
        install("roll_back", run_id="two")
        assert self.packages(kolla) == ["docker-7.1.0", "nova_docker-1.0"]

    def test_a_driver_in_the_image_would_win_and_is_refused(
        self, kolla: Kolla, install: Any
    ) -> None:
        (site,) = kolla.python.parents[1].glob("lib/python*/site-packages")
        info = site / "nova_docker-0.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nova-docker\nVersion: 0.9\n")
        with pytest.raises(faults.StepFailed, match=r"nova_compute has nova-docker 0\.9 in it"):
            install("check")


class TestConfigured:
    @pytest.fixture
    def restarts(self, kolla: Kolla, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Stand in for what Nova says of its options; return the restarts."""
        done: list[str] = []
        (kolla.folder / "novadocker/site").mkdir(parents=True)

        def effective(step: Any, _service: Any, _options: Any, *more: str) -> bool:
            if len(more) > 1:
                empty = pathlib.Path(more[1].partition("=")[2])
                assert (more[0], list(empty.iterdir())) == ("--config-file=/etc/nova/nova.conf", [])
                return True
            if more:
                assert more[0].startswith((f"--config-dir={kolla.root}/run/", "--config-file="))
                return True
            return bool(done) and bool(kolla.ours() or (kolla.folder / "nova.conf").exists())

        def options(_step: Any, service: Any, probe: Any, *arguments: str) -> Any:
            if probe.__name__ == "effective_options":
                return {"docker": {"root_directory": None, "volume_file_systems": None}}
            if probe.__name__ == "versions":
                return {"nova-docker": "1.0"}
            return services.in_service_python(_step, service, probe, *arguments)

        def load(_step: Any, service: Any, *more: str) -> Any:
            assert service.environment["PYTHONPATH"].startswith(f"{kolla.root}/run/")
            return {"root_helper": "sudo nova-rootwrap x", "state_path": "/var/lib/nova"}

        def restart(_step: Any, service: Any, _timeout_s: float) -> None:
            done.append(service.unit)

        monkeypatch.setattr(configure_compute, "effective", effective)
        for module in (configure_compute, container_options):
            monkeypatch.setattr(module, "in_service_python", options)
        monkeypatch.setattr(configure_compute, "prove_driver", load)
        monkeypatch.setattr(configure_compute, "restart_service", restart)
        monkeypatch.setattr(container_restarts, "restart_service", restart)
        monkeypatch.setattr(driver_leftovers, "docker", lambda *_: [])
        for module in (configure_compute, instances):
            monkeypatch.setattr(module, "instance_containers", lambda _step: [])
        return done

    def configure(self, make_step: Make, mode: str = "apply", run_id: str = "one") -> Any:
        return run(make_step, configure_compute, mode, run_id, **SETTINGS)

    def test_apply_repeat_and_undo_leave_what_was_there(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        before = listing(kolla.root)
        assert self.configure(make_step, "check").actions
        assert listing(kolla.root) == before
        assert restarts == []

        step = self.configure(make_step)
        assert restarts == [UNIT]
        assert step.facts["disturbs"] is True
        (place,) = (str(path) for path in kolla.python.parents[1].glob("lib/python*/site-packages"))
        source = "/var/lib/kolla/config_files/novadocker"
        assert kolla.ours() == {
            "/etc/nova/nova-compute.conf.d/90-novadocker.conf": (
                f"{source}/nova-compute.conf.d/90-novadocker.conf"
            ),
            "/opt/novadocker": f"{source}/site",
            f"{place}/novadocker.pth": f"{source}/novadocker.pth",
        }
        drop_in = kolla.folder / "novadocker/nova-compute.conf.d/90-novadocker.conf"
        assert "compute_driver = novadocker.virt.docker.DockerDriver" in drop_in.read_text()
        assert "[docker]\nroot_directory = /var/lib/nova\n" in drop_in.read_text()
        config = json.loads(kolla.config.read_text())
        assert (config["command"], config["config_files"][0]) == ("nova-compute", ENTRY)

        assert self.configure(make_step).actions == []
        assert self.configure(make_step, "check", "two").actions == []
        assert restarts == [UNIT]

        self.configure(make_step, "undo")
        assert restarts == [UNIT, UNIT]
        assert listing(kolla.root) == before

    def test_a_command_that_names_its_files_names_the_drop_in_too(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        kolla.write(command="nova-compute --config-file /etc/nova/nova.conf")
        before = kolla.config.read_bytes()
        self.configure(make_step)
        assert json.loads(kolla.config.read_text())["command"] == (
            "nova-compute --config-file /etc/nova/nova.conf "
            "--config-file=/etc/nova/nova-compute.conf.d/90-novadocker.conf"
        )
        assert self.configure(make_step).actions == []
        self.configure(make_step, "undo")
        assert kolla.config.read_bytes() == before

    def test_what_kolla_ansible_took_back_is_seen_and_repaired_and_its_last_word_kept(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        self.configure(make_step)
        service = services.nova_service(make_step("s"))
        assert container_config.drift_of(make_step("s"), service) == []

        kolla.write({**ENTRY, "dest": "/etc/ceph/ceph.conf"})
        anew = kolla.config.read_bytes()
        (fault,) = container_config.drift_of(make_step("s"), service)
        assert "config.json was written anew" in fault
        assert "deploy again" in fault

        self.configure(make_step, run_id="two")
        assert restarts == [UNIT, UNIT]
        assert "/opt/novadocker" in kolla.ours()
        assert "/etc/ceph/ceph.conf" in kolla.config.read_text()
        self.configure(make_step, "undo")
        assert kolla.config.read_bytes() == anew

    @pytest.fixture
    def tenant(self, kolla: Kolla, make_step: Make, restarts: Any, monkeypatch: Any) -> str:
        """An instance on a host that is converted, and whose entries kolla-ansible took out."""
        self.configure(make_step)
        kolla.write({**ENTRY, "dest": "/etc/ceph/ceph.conf"})
        for module in (configure_compute, instances):
            monkeypatch.setattr(module, "instance_containers", lambda _step: ["nova-a-tenants"])
        return "nova-a-tenants"

    def test_a_tenant_keeps_the_driver_where_the_repair_does_not_stay_up(
        self,
        kolla: Kolla,
        make_step: Make,
        tenant: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def fail(*_args: Any) -> None:
            raise faults.StepFailed("it does not stay up")

        monkeypatch.setattr(configure_compute, "restart_service", fail)
        with pytest.raises(faults.StepFailed, match="it does not stay up"):
            self.configure(make_step, run_id="two")
        assert "/opt/novadocker" in kolla.ours()

    def test_a_tenant_keeps_the_driver_where_the_run_of_the_repair_is_taken_back(
        self, kolla: Kolla, make_step: Make, tenant: str, restarts: list[str]
    ) -> None:
        self.configure(make_step, run_id="two")
        restarts.clear()
        with pytest.raises(faults.StepFailed, match=f"{tenant}.*stays a Docker hypervisor"):
            self.configure(make_step, "roll_back", run_id="two")
        assert "/opt/novadocker" in kolla.ours()
        assert restarts == []

    def test_virtual_machines_that_came_after_a_reconfigure_keep_their_driver(
        self, kolla: Kolla, make_step: Make, tenant: str, restarts: list[str]
    ) -> None:
        libvirt = kolla.root / "var/lib/docker/volumes/nova_libvirt_qemu/_data"
        libvirt.mkdir(parents=True)
        (libvirt / "instance-1.xml").write_bytes(instances.NOVAS_DOMAIN)
        restarts.clear()
        with pytest.raises(faults.StepFailed, match=r"1 virtual machines.*instance-1"):
            self.configure(make_step, run_id="two")
        assert (kolla.ours(), restarts) == ({}, [])

    def test_what_kolla_ansible_wrote_meanwhile_stays_when_a_run_is_taken_back(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        self.configure(make_step)
        before = kolla.ours()
        kolla.write(command="nova-compute --config-file /etc/nova/nova.conf")
        self.configure(make_step, run_id="two")
        config = json.loads(kolla.config.read_text())
        config["config_files"].append({**ENTRY, "dest": "/etc/ceph/ceph.conf"})
        config["config_files"] = [e for e in config["config_files"] if "pth" not in e["dest"]]
        kolla.config.write_text(json.dumps(config))
        self.configure(make_step, run_id="three")
        config["config_files"].append({**ENTRY, "dest": "/etc/late"})
        kolla.config.write_text(json.dumps(config))
        self.configure(make_step, "roll_back", run_id="three")
        left = [item["dest"] for item in json.loads(kolla.config.read_text())["config_files"]]
        assert "/etc/late" in left
        assert "/etc/ceph/ceph.conf" in left
        assert set(kolla.ours()) < set(before)

    def test_packages_that_were_taken_back_alone_are_seen(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        text = f"[DEFAULT]\ncompute_driver = {SETTINGS['compute_driver']}\n"
        (kolla.folder / "nova.conf").write_text(text)
        self.configure(make_step)
        assert not any("nova-compute.conf.d" in name for name in kolla.ours())
        service = services.nova_service(make_step("s"))
        assert container_config.drift_of(make_step("s"), service) == []
        kolla.write()
        (fault,) = container_config.drift_of(make_step("s"), service)
        assert "loses the driver" in fault

    def test_what_kolla_ansible_sets_itself_needs_no_entries(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        text = f"[DEFAULT]\ncompute_driver = {SETTINGS['compute_driver']}\n"
        (kolla.folder / "nova.conf").write_text(text)
        before = kolla.config.read_bytes()
        restarts.append("by kolla-ansible")
        (site,) = kolla.python.parents[1].glob("lib/python*/site-packages")
        info = site / "nova_docker-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nova-docker\nVersion: 1.0\n")
        (kolla.folder / "novadocker/site").rmdir()
        assert self.configure(make_step, "check").actions == []
        assert self.configure(make_step).actions == []
        assert kolla.config.read_bytes() == before

        # Packages of a former deploy are of no use beside the image's.
        (kolla.folder / "novadocker/site").mkdir()
        step, service = make_step("s"), services.nova_service(make_step("s"))
        assert service.container is not None
        assert container_config.wanted_entries(step, service, service.container, False) == []
        assert (
            container_config.drift_of(make_step("s"), services.nova_service(make_step("s"))) == []
        )

    def test_entries_that_others_added_since_stay_when_ours_are_taken_out(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        self.configure(make_step)
        config = json.loads(kolla.config.read_text())
        config["config_files"].append({**ENTRY, "dest": "/etc/more"})
        kolla.config.write_text(json.dumps(config))
        self.configure(make_step, "undo")
        assert kolla.ours() == {}
        left = json.loads(kolla.config.read_text())["config_files"]
        assert [item["dest"] for item in left] == ["/etc/nova/nova.conf", "/etc/more"]
        assert not (kolla.folder / "novadocker/nova-compute.conf.d").exists()

    def test_where_the_container_does_not_stay_up_all_is_as_it_was(
        self,
        kolla: Kolla,
        make_step: Make,
        restarts: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before = listing(kolla.root)

        def fail(*_args: Any) -> None:
            raise faults.StepFailed("it does not stay up")

        monkeypatch.setattr(configure_compute, "restart_service", fail)
        with pytest.raises(faults.StepFailed, match="it does not stay up"):
            self.configure(make_step)
        assert listing(kolla.root) == before
        assert restarts == [UNIT]

    @pytest.mark.parametrize("unit_stays", [True, False])
    def test_undo_of_a_host_from_which_kolla_ansible_has_removed_all_since(
        self, kolla: Kolla, make_step: Make, restarts: list[str], unit_stays: bool
    ) -> None:
        self.configure(make_step)
        del kolla.answers["GET", "/containers/nova_compute/json"]
        shutil.rmtree(kolla.root / "etc/kolla")
        if not unit_stays:
            kolla.programs("systemctl", "echo LoadState=not-found")
        self.configure(make_step, "undo")
        assert not (kolla.root / "etc/kolla").exists()
        assert make_step("configure_compute", "undo").to_undo.get("files", {}) == {}

    def test_undo_empties_the_drop_in_of_a_container_that_does_not_run(
        self, kolla: Kolla, make_step: Make, restarts: list[str], calls: Calls
    ) -> None:
        self.configure(make_step)
        kolla.container(State={"Running": False, "Pid": 0})
        self.configure(make_step, "undo")
        (copied,) = [call for call in calls() if call.startswith("docker cp")]
        assert copied.endswith("nova_compute:/etc/nova/nova-compute.conf.d/90-novadocker.conf")
        # Nova's own user reads it.
        assert (kolla.root / "mode").read_text() == "644\n"
        assert restarts == [UNIT, UNIT]

    @pytest.mark.parametrize("running", [True, False])
    def test_an_undo_that_cannot_take_the_drop_in_out_restarts_nothing(
        self, kolla: Kolla, make_step: Make, restarts: list[str], running: bool
    ) -> None:
        self.configure(make_step)
        if not running:
            kolla.container(State={"Running": False, "Pid": 0})
        (kolla.root / "fails").touch()
        with pytest.raises(faults.StepFailed, match="it went away"):
            self.configure(make_step, "undo")
        assert restarts == [UNIT]
        (kolla.root / "fails").unlink()
        self.configure(make_step, "undo")
        assert restarts == [UNIT, UNIT]

    def test_its_user_gets_the_engine_s_group_for_its_next_start_and_loses_it_again(
        self,
        kolla: Kolla,
        make_step: Make,
        restarts: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        changes: list[str] = []
        group = grp.struct_group(("docker", "x", 4242, []))
        monkeypatch.setattr(grp, "getgrnam", lambda _name: group)
        monkeypatch.setattr(configure_compute, "may_use_engine", lambda _service: bool(changes))
        monkeypatch.setattr(
            engine_access,
            "change_groups",
            lambda _s, _v, gid, verb: changes.append(f"{verb} {gid}"),
        )
        kolla.container(Config={"User": "nova"})
        self.configure(make_step)
        assert changes == ["join 4242"]
        self.configure(make_step)
        self.configure(make_step, "undo")
        assert changes == ["join 4242", "leave 4242"]

    def test_a_host_without_the_group_of_the_engine_is_told_so(
        self, kolla: Kolla, make_step: Make, restarts: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(name: str) -> Any:
            raise KeyError(name)

        before = listing(kolla.root)
        monkeypatch.setattr(grp, "getgrnam", none)
        kolla.container(Config={"User": "nova"})
        with pytest.raises(faults.StepFailed, match="has no group docker.*`groupadd --system doc"):
            self.configure(make_step)
        assert (listing(kolla.root), restarts) == (before, [])

    def test_volumes_are_refused_by_name(
        self, kolla: Kolla, make_step: Make, restarts: Any
    ) -> None:
        options = {"docker": {"volume_file_systems": "ext4"}}
        with pytest.raises(faults.StepFailed, match=r"\[docker\]volume_file_systems is set"):
            run(make_step, configure_compute, "check", **{**SETTINGS, "options": options})

    def test_a_configuration_that_is_none_of_kolla_ansible_s_is_refused(
        self, kolla: Kolla, make_step: Make, restarts: list[str]
    ) -> None:
        kolla.config.write_text("[]")
        with pytest.raises(faults.StepFailed, match=r"config\.json is not as kolla-ansible writes"):
            self.configure(make_step, "check")
        kolla.write()
        (kolla.folder / "config.yaml").touch()
        with pytest.raises(faults.StepFailed, match=r"it goes by .*config\.yaml"):
            self.configure(make_step, "check")

    def test_verification_tells_what_was_taken_back(
        self,
        kolla: Kolla,
        make_step: Make,
        restarts: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        self.configure(make_step)
        kolla.write()
        monkeypatch.setattr(verify_host, "driver_faults", lambda *_: [])
        with pytest.raises(faults.StepFailed, match=r"config\.json was written anew"):
            run(make_step, verify_host, images=[], wait_s=0, driver=True)


class TestGroups:
    BEFORE = "root:x:0:\nkvm:!:107:qemu\nnova:x:42436:\n"

    @pytest.mark.parametrize(
        ("gid", "between"),
        [
            ("998", f"{BEFORE}novadocker:x:998:nova\n"),
            ("107", BEFORE.replace("qemu", "qemu,nova")),
        ],
    )
    def test_a_member_joins_and_leaves_without_a_trace(
        self, tmp_path: pathlib.Path, gid: str, between: str
    ) -> None:
        file = tmp_path / "group"
        file.write_text(self.BEFORE)
        assert engine_access.set_member(gid, "nova", "join", str(file))
        assert file.read_text() == between
        assert not engine_access.set_member(gid, "nova", "join", str(file))
        assert engine_access.set_member(gid, "nova", "leave", str(file))
        assert file.read_text() == self.BEFORE
        assert not engine_access.set_member(gid, "nova", "leave", str(file))


class TestEngine:
    def test_an_engine_that_kolla_s_containers_run_in_is_left_as_it_is(
        self, kolla: Kolla, make_step: Make, calls: Calls
    ) -> None:
        (kolla.root / "etc/docker").mkdir()
        (kolla.root / "etc/docker/daemon.json").write_text('{"iptables":false}')
        kolla.answers["GET", "/info"] = (
            200,
            {"ServerVersion": "20.10", "Driver": "overlay2", "DockerRootDir": "/var/lib/docker"},
        )
        before = listing(kolla.root)
        wanted = {"live-restore": True, "iptables": False, "bridge": "none"}
        for mode in ("check", "apply", "undo"):
            step = run(make_step, install_docker, mode, daemon_settings=wanted, users=[])
            assert step.actions == []
            if mode != "undo":
                stays, ends = step.facts["notes"]
                assert "2 containers of kolla-ansible's run in this engine" in stays
                assert "not given bridge, live-restore" in stays
                assert 'docker_custom_config: {"live-restore": true} in globals.yml' in ends
        assert listing(kolla.root) == before
        changing = ("restart", "reload", "start", "stop")
        assert [call for call in calls() if call.split()[1] in changing] == []


def test_a_path_is_looked_up_on_the_nearest_mount() -> None:
    mounts = [{"Destination": b, "Source": a} for a, b, _ in MOUNTS]
    container = compute_container.Container("x", mounts=(*mounts, {"Destination": "/var"}))
    assert container.source("/etc/nova") == ""
    assert container.mount("/var/lib/nova/x")["Destination"] == "/var/lib/nova"
    assert container.mount("/var/lib/novax")["Destination"] == "/var"
