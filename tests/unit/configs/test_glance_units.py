# SPDX-License-Identifier: Apache-2.0
"""configure_glance where Glance is deployed in other ways: uWSGI, Apache, containers."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import configure_glance
import pytest
from library import deployers, faults, glance_formats, outcome, probes, services, uwsgi

from .conftest import Make, Programs

Unit = Callable[..., None]


@pytest.fixture
def unit(programs: Programs) -> Unit:
    """Return a function that gives the host a unit, which is not started."""

    def put(name: str, *command: str, active: bool = False) -> None:
        words = " ".join(command)
        programs(
            "systemctl",
            f'case "$*" in *" {name}") echo LoadState=loaded; echo ActiveState='
            f"{'active' if active else 'inactive'}; echo SubState=x; echo MainPID=0\n"
            f"echo 'ExecStart={{ path=x ; argv[]={words} ; ignore_errors=no ; }}';;\n"
            "*show*) echo LoadState=not-found;; esac",
        )

    return put


def converge(make_step: Make, mode: str = "check", **settings: Any) -> Any:
    given = {"container_formats_add": ["docker"], **settings}
    step = make_step("configure_glance", mode, **given)
    outcome.work_of(mode, configure_glance.converge, configure_glance.undo)(step)
    return step


@pytest.fixture
def environment(tmp_path: pathlib.Path) -> pathlib.Path:
    """A virtual environment's Python, which says what Glance's would."""
    place = tmp_path / "venv"
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").touch()
    answer = json.dumps({"formats": ["ami", "bare"], "set_by": "", "directories": []})
    python = place / "bin" / "python3"
    python.write_text(f"#!/bin/sh\nenv >{tmp_path}/environment\necho '{answer}'\n")
    python.chmod(0o755)
    return place


@pytest.mark.field_case("K6.1")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("devstack@g-api.service", "own"),
        ("glance-api.service", "file"),
        ("openstack-glance-api.service", "option"),
    ],
)
def test_a_glance_under_uwsgi_is_changed_as_another_is(
    make_step: Make,
    unit: Unit,
    environment: pathlib.Path,
    tmp_path: pathlib.Path,
    root: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    told: str,
) -> None:
    ini, program = tmp_path / "glance.ini", "/opt/uwsgi/bin/uwsgi"
    lines = "[uwsgi]\n# home = /no\nplugins = python3\nenv = OS_GLANCE_CONFIG_DIR=/etc/glance\n"
    ini.write_text(lines + (f"virtualenv = {environment}\n" if told == "file" else ""))
    options = ["--venv", str(environment)] if told == "option" else []
    if told == "own":
        program = f"{environment}/bin/uwsgi"
    unit(name, program, "--procname-prefix", "glance-api", *options, "--ini", str(ini))
    restarted: list[str] = []
    step = converge(make_step)
    assert step.actions[-1] == f"restart {name}"
    assert "OS_GLANCE_CONFIG_DIR=/etc/glance\n" in (tmp_path / "environment").read_text()
    answers = iter([["ami", "bare"], ["ami", "bare", "docker"]])
    monkeypatch.setattr(configure_glance, "formats", lambda *_args: next(answers))
    monkeypatch.setattr(
        configure_glance, "restart_service", lambda _s, service, _t: restarted.append(service.unit)
    )
    converge(make_step, "apply")
    assert restarted == [name]
    text = (root / configure_glance.DROP_IN.lstrip("/")).read_text()
    assert "container_formats = ami,bare,docker\n" in text


@pytest.mark.field_case("K6.1")
@pytest.mark.parametrize(
    ("trace", "said"),
    [
        ("etc/kolla/glance-api/x", "kolla-ansible reconfigure --tags glance"),
        ("var/lib/config-data/puppet-generated/glance_api/x", "glance::config::api_config"),
        ("etc/openstack_deploy/x", "glance_glance_api_conf_overrides"),
        ("etc/apache2/sites-enabled/glance-api.conf", "Apache runs it .glance-api.conf."),
        ("etc/httpd/conf.d/10-glance_wsgi.conf", "and reload Apache"),
    ],
)
def test_where_a_tool_deployed_it_the_refusal_says_what_to_set_there(
    make_step: Make, unit: Unit, root: pathlib.Path, trace: str, said: str
) -> None:
    unit("none.service")
    path = root / trace
    path.parent.mkdir(parents=True)
    path.write_text("  WSGIScriptAlias / /usr/bin/glance-wsgi-api\n")
    before = sorted(root.rglob("*"))
    with pytest.raises(faults.StepFailed, match=said) as caught:
        converge(make_step)
    assert "add docker to container_formats under [image_format]" in str(caught.value)
    assert sorted(root.rglob("*")) == before


@pytest.mark.field_case("K6.1")
def test_a_glance_in_containers_that_takes_docker_is_not_in_the_way(
    make_step: Make, unit: Unit, root: pathlib.Path
) -> None:
    unit("none.service")
    (root / "etc/kolla/glance-api").mkdir(parents=True)
    for mode in ("check", "apply"):
        step = converge(make_step, mode, api_accepts=True)
        assert step.actions == []
        assert "takes docker images already" in step.facts["notes"][0]


def test_a_uwsgi_of_the_system_s_has_the_system_s_python(programs: Programs) -> None:
    programs("python3", "")
    for name in ("uwsgi", "uwsgi_python3", "uwsgi-core"):
        assert uwsgi.uwsgi_python([f"/usr/bin/{name}", "--master"]).endswith("/bin/python3")
    assert not uwsgi.is_uwsgi(["/usr/bin/uwsgitop"])
    assert uwsgi.uwsgi_python(["/usr/bin/uwsgi", "-H", "/no/such"]) == ""
    assert uwsgi.uwsgi_python(["/usr/bin/uwsgi", "--ini", "/no/such.ini"]) == ""


@pytest.mark.field_case("K6.1")
def test_a_python_without_glance_is_not_the_one_that_it_runs_in(
    make_step: Make, unit: Unit, programs: Programs
) -> None:
    programs("python3", "echo \"ModuleNotFoundError: No module named 'glance'\" >&2; exit 1")
    unit("glance-api.service", "/usr/bin/uwsgi", "--yaml", "/x.yaml", active=True)
    with pytest.raises(faults.StepFailed, match="uwsgi, whose Python cannot be told: add docker"):
        converge(make_step)
    assert converge(make_step, api_accepts=True).actions == []


class TestOtherFiles:
    """What the probe and the check say is what Glance and oslo.config do, in their own process."""

    @pytest.fixture
    def home(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        folder = tmp_path / ".glance"
        (folder / "glance-api.conf.d").mkdir(parents=True)
        (folder / "glance-api.conf").write_text("[DEFAULT]\n")
        drop_in = f"{folder}/glance-api.conf.d/90-novadocker.conf"
        monkeypatch.setattr(configure_glance, "DROP_IN", drop_in)
        monkeypatch.setenv("HOME", str(tmp_path))
        return folder

    def service(self, *arguments: str) -> services.Service:
        command = [sys.executable, "/v/bin/glance-api", *arguments]
        state = {"active": True, "state": "x", "user": "root", "pid": 0, "restarts": 0}
        return services.Service(
            unit="glance-api.service", notifies=False, command=command, environment={}, **state
        )

    def foresee(
        self, make_step: Make, monkeypatch: pytest.MonkeyPatch, home: pathlib.Path, *arguments: str
    ) -> None:
        def ask(_step: Any, _service: Any, _probe: Any, *words: str) -> Any:
            program = probes.program_text(glance_formats.glance_formats)
            done = subprocess.run(
                [sys.executable, "-c", program, *words],
                env={**os.environ, "HOME": str(home.parent)},
                capture_output=True,
                text=True,
                check=True,
            )
            return json.loads(done.stdout.splitlines()[-1])

        monkeypatch.setattr(configure_glance, "in_service_python", ask)
        configure_glance.foresee(make_step("configure_glance", "check"), self.service(*arguments))

    @pytest.mark.field_case("K6.1")
    @pytest.mark.parametrize(
        ("arguments", "file", "fault"),
        [
            ((), "", ""),
            ((), "glance-api.conf", ""),
            ((), "glance-api.conf.d/50-ops.conf", ""),
            ((), "glance-api.conf.d/99-ops.conf", "99-ops.conf wins"),
            (("--config-file", "{home}/own.conf"), "own.conf", "own.conf wins"),
            (("--config-dir={home}/own.d",), "own.d/1.conf", "own.d wins"),
        ],
    )
    def test_a_file_that_wins_over_the_drop_in_is_named_by_a_check(
        self,
        make_step: Make,
        monkeypatch: pytest.MonkeyPatch,
        home: pathlib.Path,
        arguments: Any,
        file: str,
        fault: str,
    ) -> None:
        if file:
            (home / file).parent.mkdir(exist_ok=True)
            (home / file).write_text("[image_format]\ncontainer_formats = ami\n")
        words = [word.format(home=home) for word in arguments]
        if not fault:
            self.foresee(make_step, monkeypatch, home, *words)
            return
        with pytest.raises(faults.StepFailed, match=fault):
            self.foresee(make_step, monkeypatch, home, *words)


class TestComputes:
    """nova-compute in containers of a deployer's is recognised, with what can be done."""

    @pytest.mark.parametrize(
        ("name", "tool"),
        [
            ("kolla-nova_compute-container.service", "kolla-ansible"),
            ("edpm_nova_compute.service", "EDPM"),
            ("tripleo_nova_compute.service", "TripleO"),
            ("snap.openstack-hypervisor.nova-compute.service", "a snap"),
        ],
    )
    def test_by_its_unit(self, make_step: Make, unit: Unit, name: str, tool: str) -> None:
        unit(name, "/usr/bin/podman", "start", "nova_compute", active=True)
        reason = deployers.containerised_compute(make_step("describe_host", "check"))
        assert f"deployed by {tool}" in reason
        assert f"({name})" in reason
        assert "leave the host out" in reason

    @pytest.mark.parametrize(
        ("cgroup", "seen"),
        [
            ("0::/kubepods.slice/pod1/cri-containerd-1.scope\n", True),
            ("4:cpu:/docker/0123\n", True),
            ("0::/machine.slice/libpod-1.scope\n", True),
            ("0::/system.slice/nova-compute.service\n", False),
        ],
    )
    def test_by_its_process(
        self, make_step: Make, unit: Unit, root: pathlib.Path, cgroup: str, seen: bool
    ) -> None:
        unit("none.service")
        (root / "proc/77").mkdir(parents=True)
        (root / "proc/77/cmdline").write_text("python3\0/var/lib/openstack/bin/nova-compute\0")
        (root / "proc/77/cgroup").write_text(cgroup)
        reason = deployers.containerised_compute(make_step("describe_host", "check"))
        assert ("runs in a container (process 77)" in reason) is seen
