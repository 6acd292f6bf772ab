# SPDX-License-Identifier: Apache-2.0
"""Enrolment: places of hosts, the agent over SSH, and the stacks in Heat."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import pwd
import socket
import subprocess
import sys

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from heatclient.v1.client import Client
from openstack.connection import Connection

from novadocker_actions import driver_wheel, host_package, resources, site_archive
from novadocker_actions.cloud import inventory, messages
from novadocker_actions.cloud.services import ServiceAdapter
from novadocker_actions.cmd import enroll
from novadocker_actions.enrolment import agent, brought, pools, roster, stacks
from novadocker_actions.enrolment.agent import Ssh
from novadocker_actions.enrolment.roster import Roster
from novadocker_actions.enrolment.stacks import Enrolment
from novadocker_actions.errors import CloudError, Refused
from novadocker_actions.plan import identity
from tests.fake_service import ADDRESS, session_with
from tests.host_keys import public_text


class TestRoster:
    def test_new_hosts_come_last_and_once(self):
        roster = Roster(("a", "b")).with_hosts(["b", "c", "c"])
        assert roster.active == ("a", "b", "c")

    def test_a_removed_host_keeps_its_place_so_that_others_keep_theirs(self):
        roster = Roster(("a", "b", "c")).without(["b"])
        assert roster.parameters() == {
            "hosts": ["a", "b", "c"],
            "removed": ["1"],
        }

    def test_a_host_that_comes_back_gets_a_new_place(self):
        roster = Roster(("a", "b")).without(["a"]).with_hosts(["a"])
        assert roster.hosts == ("a", "b", "a")
        assert roster.active == ("b", "a")
        assert roster.without(["a"]).active == ("b",)

    def test_what_heat_shows_is_read_back(self):
        roster = Roster(("a", "b", "c")).without(["b"])
        shown = {name: json.dumps(value) for name, value in roster.parameters().items()}
        assert Roster.of_parameters(shown) == roster

    def test_an_unknown_host_is_refused_by_name(self):
        with pytest.raises(Refused, match="zz is not enrolled"):
            Roster(("a",)).without(["zz"])


class TestSsh:
    def test_the_operators_configuration_decides_and_nobody_is_asked(self):
        command = Ssh(config="/c").command("host", "python3 -")
        assert command[:3] == ["ssh", "-F", "/c"]
        assert "BatchMode=yes" in command
        assert command[-5:] == ["-l", "root", "--", "host", "python3 -"]

    def test_an_address_is_no_option_of_ssh(self, tmp_path):
        command = Ssh().command(f"-oProxyCommand=touch {tmp_path}/ran", "true")
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 255
        assert "hostname contains invalid characters" in done.stderr
        assert not (tmp_path / "ran").exists()

    def test_other_users_use_sudo(self):
        assert Ssh(user="ops").command("host", "python3 -")[-1] == "sudo -n python3 -"

    def test_an_unreachable_host_is_refused_with_a_remedy(self, fake_ssh):
        fake_ssh("echo 'ssh: no route to host' >&2; exit 255")
        with pytest.raises(Refused, match=r"no route to host.*--ssh-config"):
            Ssh().run("h1", "true", "", 10)

    def test_a_host_that_hangs_is_given_up(self, fake_ssh):
        fake_ssh("exec sleep 20")
        with pytest.raises(Refused, match="no answer over SSH in 0.3 s"):
            Ssh().run("h1", "true", "", 0.3)


@pytest.fixture
def fake_ssh(tmp_path, monkeypatch):
    """Return a function that stands a shell script in for ssh."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def put(body: str) -> None:
        (folder / "ssh").write_text(f"#!/bin/sh\n{body}\n")
        (folder / "ssh").chmod(0o755)

    return put


class TestAgentScript:
    def test_it_is_one_program_for_old_pythons(self):
        text = agent.step_script("install_agent", "apply", {"polling_interval_s": 2}, 60)
        ast.parse(text, feature_version=(3, 9))

    def test_it_runs_from_standard_input_and_refuses_bad_settings(self, tmp_path):
        text = agent.step_script("install_agent", "apply", {"no_such": 'it\'s "quoted"\\n'}, 60)
        done = subprocess.run(
            [sys.executable, "-"],
            input=text,
            text=True,
            capture_output=True,
            env={"NOVADOCKER_ROOT": str(tmp_path), "PATH": "/usr/bin:/bin"},
            check=False,
        )
        report = json.loads(json.loads(done.stdout)["report"])
        assert "unknown field 'no_such'" in report["reason"]

    def test_credentials_travel_on_standard_input_alone(self, fake_ssh, tmp_path):
        outcome = {"deploy_result": "ok", "changed": "true", "report": "{}"}
        fake_ssh(
            f"echo \"$*\" > {tmp_path}/argv; cat > {tmp_path}/stdin; echo '{json.dumps(outcome)}'"
        )
        settings = {"os_collect_config": {"cfn": {"secret_access_key": "hunter2"}}}
        assert agent.change_agent(Ssh(), "h", "apply", settings) is True
        assert "hunter2" not in (tmp_path / "argv").read_text()
        assert "hunter2" in (tmp_path / "stdin").read_text()

    def test_the_hosts_own_reason_is_told(self, fake_ssh):
        report = json.dumps({"reason": "install python3-venv", "log": "/var/log/l"})
        outcome = {"deploy_result": "failed", "changed": "false", "report": report}
        fake_ssh(f"cat > /dev/null; echo '{json.dumps(outcome)}'; exit 1")
        with pytest.raises(Refused, match=r"install python3-venv.*/var/log/l"):
            agent.change_agent(Ssh(), "h", "apply", {})


class TestProbes:
    """A step over SSH asks services in their own Python, as it does under the agent."""

    @pytest.fixture
    def host(self, fake_ssh, tmp_path, monkeypatch):
        """Return a function that makes a host with a nova-compute unit, started by a Python."""
        real = resources.text

        def make(python: str) -> None:
            root, program = tmp_path / "root", tmp_path / "nova-compute"
            for name in ("etc", "var/lib", "var/log"):
                (root / name).mkdir(parents=True)
            (root / "etc/os-release").write_text("ID=debian\n")
            (tmp_path / "nova.conf").write_text("[DEFAULT]\nhost = compute-1.example.com\n")
            program.write_text(f"#!{python}\n")
            user = pwd.getpwuid(os.getuid()).pw_name
            command = f"{program} --config-file={tmp_path}/nova.conf"
            systemctl = tmp_path / "bin/systemctl"
            systemctl.write_text(
                '#!/bin/sh\ncase "$*" in *" nova-compute.service") cat <<E\nLoadState=loaded\n'
                f"ActiveState=active\nUser={user}\nMainPID=0\n"
                f"ExecStart={{ path={program} ; argv[]={command} ; ignore_errors=no }}\nE\n"
                ";; *) echo LoadState=not-found;; esac\n"
            )
            systemctl.chmod(0o755)
            step = "heat_templates/library/step.py"
            monkeypatch.setattr(
                resources,
                "text",
                lambda name: (
                    real(name).replace("/usr/local/sbin:", f"{tmp_path}/bin:/usr/local/sbin:")
                    if name == step
                    else real(name)
                ),
            )
            for cached in (host_package.build, host_package.compressed, host_package.digest):
                monkeypatch.setattr(host_package, cached.__name__, cached.__wrapped__)
            fake_ssh(f'for last; do :; done\nNOVADOCKER_ROOT={root} exec sh -c "$last"')

        return make

    def test_nova_is_asked_for_its_name_of_the_host(self, host):
        host(sys.executable)
        facts = agent.run_step(Ssh(), "h", "describe_host", "check", {}, 60)["facts"]
        assert facts["nova"]["unit"] == "nova-compute.service"
        assert facts["nova"]["host"] == "compute-1.example.com"
        assert not [note for note in facts.get("notes", []) if note.startswith("nova: ")]
        agent.require_identity(Ssh(), {"compute-1.example.com": "h"})

    def test_the_driver_s_wheel_is_brought_beside_the_package(self, host, tmp_path):
        host(sys.executable)
        files = brought.of_folder(None)
        assert agent.install_package(Ssh(), "h", files)
        assert not agent.install_package(Ssh(), "h", files)
        link = tmp_path / "root/usr/local/lib/novadocker/wheels/driver"
        driver = files.driver[0]
        assert link.resolve().name == driver.sha256
        path = link / driver.path.name
        assert path.read_bytes() == driver.path.read_bytes()

    def test_of_a_directory_goes_what_the_lock_names_and_nothing_else(self, tmp_path, monkeypatch):
        for name in ("docker-7.2.0-py3-none-any.whl", "nova_docker-9.9-py3-none-any.whl"):
            (tmp_path / name).write_bytes(name.encode())
        with pytest.raises(Refused, match=r"--wheels: .* has no wheel that driver\.lock names"):
            driver_wheel.for_hosts(tmp_path)
        wanted = hashlib.sha256(b"docker-7.2.0-py3-none-any.whl").hexdigest()
        lock = {host_package.LOCK: f"docker==7.2.0 --hash=sha256:{wanted}"}
        monkeypatch.setattr(host_package, "contents", lambda: lock)
        files = brought.of_folder(tmp_path)
        sent = [wheel.path.name for wheel in files.driver]
        assert sent == [driver_wheel.find().path.name, "docker-7.2.0-py3-none-any.whl"]
        assert files.agent == ()

    def test_what_the_agent_s_lock_names_goes_to_hosts_and_into_archives(
        self, tmp_path, monkeypatch
    ):
        names = ("heat_agents-13.0.0.tar.gz", "lxml-6-py3-none-any.whl", "rich-1-py3-none-any.whl")
        for name in names:
            (tmp_path / name).write_bytes(name.encode())
        digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
        lock = {host_package.LOCK: f"docker==7.2.0 --hash=sha256:{digests[2]}"}
        monkeypatch.setattr(host_package, "contents", lambda: lock)
        text = f"heat-agents==13 --hash=sha256:{digests[0]}\nlxml==6 --hash=sha256:{digests[1]}\n"
        monkeypatch.setattr(resources, "text", lambda name: text)
        assert {path.name for path in brought.of_folder(tmp_path).agent} == {*names[:2]}
        archive = tmp_path / "site.tar"
        site_archive.make(archive, [tmp_path], [])
        assert {f"wheels/{name}" for name in names} <= {*site_archive.verify(archive)}

    def test_a_nova_that_cannot_be_asked_is_not_taken_for_none(self, host):
        host("/no/such/python3")
        with pytest.raises(Refused, match=r"nova-compute\.service .* cannot be asked.*/no/such"):
            agent.require_identity(Ssh(), {socket.gethostname(): "h"})


class Heat:
    """A Heat in memory: one stack a pool, whose servers have credentials at once."""

    def __init__(self):
        self.stacks: dict[str, dict] = {}
        self.asked: list[str] = []
        self.outcome = "COMPLETE"
        self.server_type = "OS::Heat::DeployedServer"
        # Hosts whose servers of an earlier release, each in a stack of its own, are not gone yet.
        self.nested: list[str] = []

    def answer(self, method, path, query, body):
        self.asked.append(f"{method} {path}")
        parts = path.strip("/").split("/")
        if method == "POST" or method == "PUT":
            return self._write(body, "CREATE" if method == "POST" else "UPDATE")
        if method == "DELETE":
            del self.stacks[parts[1]]
            return 204, None
        if parts[0] == "software_deployments":
            item = {"status": "COMPLETE", "updated_time": "now"}
            return 200, {"software_deployment": item}
        if len(parts) == 1:
            ((field, wanted),) = query.items()
            field = {"name": "stack_name"}.get(field, field)
            stacks = [stack for stack in self.stacks.values() if stack.get(field) == wanted]
            return 200, {"stacks": stacks}
        stack = self.stacks.get(parts[1])
        if stack is None:
            return 404, {}
        if parts[-1] == "progress":
            signal = json.dumps({"alarm_url": f"http://heat/{parts[1]}", "password": "p"})
            there = stack.get("handle")
            return (200, {"resource": {"attributes": {"signal": signal}}}) if there else (404, {})
        if parts[-1] == "resources":
            assert query["nested_depth"] == "4"
            return 200, {"resources": self._resources(stack)}
        if parts[-1] == "server":
            occ = {"collectors": ["cfn"], "cfn": {"secret_access_key": "of before"}}
            return 200, {"resource": {"attributes": {"name": parts[1], "os_collect_config": occ}}}
        if "resources" in parts:
            flat = self.server_type == "OS::Heat::DeployedServer"
            assert parts[1] in self.stacks if flat else parts[1:4] == ["nested", "2", "resources"]
            occ = {"collectors": ["cfn"], "cfn": {"secret_access_key": "k"}}
            attributes = {"name": parts[-1].removeprefix("server-"), "os_collect_config": occ}
            return 200, {"resource": {"attributes": attributes}}
        if parts[-2] == "outputs":
            outputs = {output["output_key"]: output for output in stack["outputs"]}
            return (200, {"output": outputs[parts[-1]]}) if parts[-1] in outputs else (404, {})
        return 200, {"stack": stack}

    def _write(self, body, action):
        name = body["stack_name"]
        if body["tags"] == "novadocker-hosts":
            # Heat's limits: each host has its own resources, and no other's name is in them.
            assert not body.get("files")
            assert len(body["template"]["resources"]) <= 1000
            assert len(json.dumps(body["template"])) < 512 * 1024
        parameters = {
            k: v if isinstance(v, str) else json.dumps(v) for k, v in body["parameters"].items()
        }
        if body["tags"] == "novadocker-keys":
            assert "public_keys" in yaml.safe_load(body["template"])["outputs"]
            self.asked.append(f"keys {sorted(body['parameters']['public_keys'])}")
        active = Roster.of_parameters(parameters).active
        roles = parameters.get("roles", "compute").split(",")
        inventory = {
            host: {"server_id": f"s-{host}", "deployment_id": f"d-{host}", "roles": roles}
            for host in active
        }
        self.stacks[name] = {
            "stack_name": name,
            "id": f"id-of-{name}",
            # A stack without resources has nothing that could fail.
            "stack_status": f"{action}_{self.outcome if active else 'COMPLETE'}",
            "parameters": parameters,
            "outputs": [{"output_key": "inventory", "output_value": inventory}],
            "tags": body["tags"],
            "handle": "progress" in str(body["template"]),
        }
        # What it has only accepted, Heat answers with a page of HTML.
        return (201, {"stack": {"id": "x"}}) if action == "CREATE" else (202, None)

    def _resources(self, stack):
        link, prefix = "http://heat/v1/p/stacks/nested/2", ""
        if self.server_type == "OS::Heat::DeployedServer":
            link = f"http://heat/v1/p/stacks/{stack['stack_name']}/{stack['id']}"
            prefix = "server-"
        before = [
            {
                "resource_type": self.server_type,
                "physical_resource_id": "x",
                "resource_name": "server",
                "links": [{"rel": "stack", "href": f"http://heat/v1/p/stacks/{host}/3"}],
            }
            for host in self.nested
        ]
        if before:  # At the next question they are gone, and the stack has its own.
            self.nested = []
            return before
        return [
            {
                "resource_type": self.server_type,
                "physical_resource_id": "x",
                "resource_name": f"{prefix}{host}",
                "resource_status": "COMPLETE" if self.outcome == "COMPLETE" else "FAILED",
                "resource_status_reason": "no space",
                "links": [
                    {"rel": "self", "href": f"{link}/resources/{prefix}{host}"},
                    {"rel": "stack", "href": link},
                ],
            }
            for host in Roster.of_parameters(stack["parameters"]).active
        ]


@functools.cache
def key_of(address):
    """Return a host's public key, another one for each address."""
    return public_text(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="session")
def executors_key(tmp_path_factory):
    """Return the place of the key that executors sign messages with."""
    path = tmp_path_factory.mktemp("executor") / "message.key"
    messages.make_key(path)
    return path


@pytest.fixture
def cloud(monkeypatch, executors_key):
    """Return a cloud with hosts that take any agent: Heat, and what was done to which host."""
    heat, done = Heat(), []
    heat.hosts = {}
    heat.stacks["nested"] = {"stack_name": "nested", "id": "2", "parameters": {}, "outputs": []}

    def change(_ssh, address, mode, settings, brought=None, timeout_s=600):
        done.append((address, mode, settings))
        return True

    def run_step(_ssh, address, step, mode, settings, timeout_s=600, wheels=()):
        name = address if not address.startswith("10.") else None
        facts = heat.hosts.get(address) or {"hostname": name or heat.named.get(address)}
        heat.asked.append(f"{step} {mode} {address}")
        return {"changed": True, "facts": {**facts, "public_key": key_of(address)}}

    heat.named = {"10.0.0.1": "ctl", "10.0.0.2": "b"}
    monkeypatch.setattr(messages, "KEY_FILE", str(executors_key))
    monkeypatch.setattr(agent, "run_step", run_step)
    monkeypatch.setattr(stacks, "change_agent", change)
    monkeypatch.setattr(enroll, "change_agent", change)
    connection = type("Connection", (), {"orchestration": session_with(heat.answer)})()
    monkeypatch.setattr(enroll.openstack, "connect", lambda **_kwargs: connection)
    return heat, done


def keys(heat, pool="c"):
    """Return the keys that are pinned for a pool, None where it has no stack for them."""
    stack = heat.stacks.get(f"novadocker-keys-novadocker-hosts-{pool}")
    return json.loads(stack["parameters"]["public_keys"]) if stack else None


class TestKeys:
    def test_add_pins_the_keys_before_any_agent_answers(self, cloud):
        heat, done = cloud
        assert enroll.main(["add", "--pool", "c", "a", "b=10.0.0.2"]) == 0
        assert keys(heat) == {"a": key_of("a"), "b": key_of("10.0.0.2")}
        assert heat.stacks["novadocker-keys-novadocker-hosts-c"]["tags"] == "novadocker-keys"
        order = [line for line in heat.asked if line.startswith(("make_host_key", "POST", "keys"))]
        assert order[2:5] == ["POST /stacks", "keys ['a', 'b']", "POST /stacks"]
        # The agent knows by which name it signs.
        assert sorted(settings["host"] for _, _, settings in done) == ["a", "b"]

    def test_a_second_add_keeps_the_keys_of_others_and_writes_nothing_that_is_there(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a"])
        enroll.main(["add", "--pool", "c", "b"])
        assert keys(heat) == {"a": key_of("a"), "b": key_of("b")}
        heat.asked.clear()
        enroll.main(["add", "--pool", "c", "a"])
        assert "keys ['a', 'b']" not in heat.asked

    def test_a_pool_from_before_hosts_had_keys_gets_them_in_place(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a"])
        del heat.stacks["novadocker-keys-novadocker-hosts-c"]
        assert enroll.main(["add", "--pool", "c", "a"]) == 0
        assert keys(heat) == {"a": key_of("a")}

    def test_attach_pins_them_for_a_stack_that_waits_for_its_hosts(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a"])
        pool = heat.stacks.pop("novadocker-hosts-c")
        heat.stacks["my-pool"] = {
            **pool,
            "stack_name": "my-pool",
            "stack_status": "CREATE_IN_PROGRESS",
        }
        assert enroll.main(["attach", "my-pool"]) == 0
        stack = heat.stacks["novadocker-keys-my-pool"]
        assert json.loads(stack["parameters"]["public_keys"]) == {"a": key_of("a")}

    @pytest.mark.parametrize("key", ["", "AAAA", "no base64"])
    def test_a_key_that_nobody_can_read_is_not_pinned(self, cloud, monkeypatch, capsys, key):
        heat, _ = cloud
        real = agent.run_step

        def run_step(ssh, address, *given):
            done = real(ssh, address, *given)
            return {**done, "facts": {**done["facts"], "public_key": key}}

        monkeypatch.setattr(agent, "run_step", run_step)
        assert enroll.main(["add", "--pool", "c", "a"]) != 0
        assert "a: made a key that cannot be pinned" in capsys.readouterr().err
        assert keys(heat) is None

    def test_the_key_of_a_removed_host_is_forgotten(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        enroll.main(["remove", "a"])
        assert keys(heat) == {"b": key_of("b")}
        enroll.main(["remove", "b"])
        assert keys(heat) is None


class TestProgress:
    """Hosts tell how far they have come to a handle beside their keys."""

    def test_each_agent_is_given_its_pool_s_handle(self, cloud):
        _, done = cloud
        assert enroll.main(["add", "--pool", "c", "a"]) == 0
        access = json.loads(done[0][2]["progress"])
        assert access["alarm_url"].endswith("/novadocker-keys-novadocker-hosts-c")

    def test_a_pool_of_an_earlier_release_gets_one_with_the_same_keys(self, cloud):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a"])
        heat.stacks["novadocker-keys-novadocker-hosts-c"]["handle"] = False
        assert enroll.main(["add", "--pool", "c", "a"]) == 0
        assert json.loads(done[-1][2]["progress"])
        assert keys(heat) == {"a": key_of("a")}

    def test_the_handle_is_alone_in_its_stack(self):
        # Heat looks at every resource of a handle's stack each time it is signalled.
        template = yaml.safe_load(resources.text("heat_templates/host_keys.yaml"))
        assert list(template["resources"]) == ["progress"]
        assert "progress" not in yaml.safe_load(json.dumps(pools.template(["a"])))["resources"]


class TestOperator:
    """A host runs what the operator's key has signed, and it gets that key over SSH."""

    def test_each_agent_is_given_the_operators_key_after_its_package(self, cloud, executors_key):
        heat, done = cloud
        assert enroll.main(["add", "--pool", "c", "a"]) == 0
        (settings,) = [settings for _, _, settings in done]
        assert settings["operator_keys"] == messages.public_file(executors_key).read_text()
        assert settings["unsigned"] == "refuse"
        assert "install_package apply a" in heat.asked

    def test_several_keys_are_believed_while_one_is_replaced(self, cloud, executors_key, tmp_path):
        messages.make_key(tmp_path / "new.key")
        files = [messages.public_file(executors_key), tmp_path / "new.pub"]
        words = [word for file in files for word in ("--operator-key", str(file))]
        assert enroll.main(["add", "--pool", "c", *words, "a"]) == 0
        assert cloud[1][0][2]["operator_keys"] == "".join(file.read_text() for file in files)

    @pytest.mark.parametrize("verb", [["add", "--pool", "c", "a"], ["attach", "s"]])
    def test_without_a_key_no_host_is_enrolled(self, cloud, tmp_path, monkeypatch, capsys, verb):
        heat, done = cloud
        monkeypatch.setattr(messages, "KEY_FILE", str(tmp_path / "none.key"))
        heat.stacks["s"] = {**heat.stacks["nested"], "stack_name": "s", "id": "3"}
        assert enroll.main(verb) == 1
        said = capsys.readouterr().err
        assert "none.pub: is not there" in said
        assert "`novadocker-enroll make-key`" in said
        assert done == []
        assert not [line for line in heat.asked if "POST" in line or "make_host_key" in line]

    @pytest.mark.parametrize("text", ["", "-----BEGIN", "€"])
    def test_what_is_no_key_is_told(self, cloud, tmp_path, capsys, text):
        (tmp_path / "x.pub").write_text(text)
        assert enroll.main(["add", "--pool", "c", "--operator-key", str(tmp_path / "x.pub"), "a"])
        assert f"{tmp_path}/x.pub: " in capsys.readouterr().err
        assert cloud[1] == []

    def test_a_private_key_never_goes_to_a_host(self, cloud, executors_key, capsys):
        words = ["--operator-key", str(executors_key)]
        assert enroll.main(["add", "--pool", "c", *words, "a"]) == 1
        assert "holds no public RSA key" in capsys.readouterr().err
        assert cloud[1] == []

    def test_stacks_may_push_where_the_operator_says_so(self, cloud):
        assert enroll.main(["add", "--pool", "c", "--trust-stacks", "a"]) == 0
        assert cloud[1][0][2]["unsigned"] == "run"
        # Each enrolment says it anew.
        assert enroll.main(["add", "--pool", "c", "a"]) == 0
        assert cloud[1][1][2]["unsigned"] == "refuse"


class TestUpdate:
    def test_all_enrolled_hosts_get_the_package(self, cloud, capsys):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        heat.asked.clear()
        done.clear()
        assert enroll.main(["update"]) == 0
        changed = [line for line in heat.asked if "GET" not in line]
        assert sorted(changed) == [
            *("bring_wheels apply a", "bring_wheels apply b"),
            *("install_agent apply a", "install_agent apply b"),
            *("install_package apply a", "install_package apply b"),
        ]
        told = capsys.readouterr().out
        assert f"a: package {host_package.digest()[:12]} installed" in told
        assert "agent brought up to date" in told

    def test_some_of_them_by_name_and_address(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a", "b=10.0.0.2"])
        heat.asked.clear()
        assert enroll.main(["update", "b=10.0.0.2"]) == 0
        assert [line for line in heat.asked if "GET" not in line] == [
            *("install_package apply 10.0.0.2", "bring_wheels apply 10.0.0.2"),
            "install_agent apply 10.0.0.2",
        ]

    def test_those_that_failed_are_named_and_the_others_have_it(self, cloud, monkeypatch, capsys):
        enroll.main(["add", "--pool", "c", "a", "b"])
        real = agent.run_step

        def run_step(ssh, address, *given):
            if address == "a":
                raise Refused("a", "disk full.", "Mend it.")
            return real(ssh, address, *given)

        monkeypatch.setattr(agent, "run_step", run_step)
        assert enroll.main(["update"]) == 1
        told = capsys.readouterr()
        assert "a: a: disk full." in told.err
        assert "b: package" in told.out

    @pytest.mark.parametrize(
        ("words", "said"),
        [(["update", "zz"], "zz is not enrolled."), (["update"], "none is enrolled.")],
    )
    def test_a_host_that_is_not_enrolled_is_refused(self, cloud, capsys, words, said):
        assert enroll.main(words) == 1
        assert said in capsys.readouterr().err


class TestIdentity:
    """One wrong address must not convert another host than the one that is taken out of service."""

    @pytest.mark.parametrize(
        ("facts", "reason"),
        [
            ({"hostname": "a", "nova": {"host": "z"}}, "answers as a is z in Nova (address a)"),
            ({"hostname": "z", "nova": None}, "answers as a is called z (address a)"),
            ({"hostname": "", "nova": {"host": None}}, "answers as a is called nothing"),
        ],
    )
    def test_another_host_at_the_address_is_refused_before_anything(
        self, cloud, capsys, facts, reason
    ):
        heat, done = cloud
        heat.hosts["a"] = facts
        assert enroll.main(["add", "--pool", "c", "a", "b"]) == 1
        said = capsys.readouterr().err
        assert reason in said
        assert "Nothing was changed" in said
        assert done == []
        assert not [line for line in heat.asked if "POST" in line or "make_host_key" in line]

    def test_all_of_them_are_named(self, cloud, capsys):
        for name in ("a", "b"):
            cloud[0].hosts[name] = {"hostname": "z", "nova": {"host": f"not-{name}"}}
        assert enroll.main(["add", "--pool", "c", "a", "b"]) == 1
        said = capsys.readouterr().err
        assert "a is not-a in Nova" in said
        assert "b is not-b in Nova" in said

    def test_attach_looks_as_well(self, cloud, capsys):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a"])
        heat.hosts["a"] = {"hostname": "a", "nova": {"host": "other"}}
        assert enroll.main(["attach", "novadocker-hosts-c"]) == 1
        assert "answers as a is other in Nova" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("name", "hostname"),
        [("ctl", "ctl.example.com"), ("ctl.example.com", "ctl"), ("CTL", "ctl"), ("ctl", "ctl")],
    )
    def test_a_host_without_nova_may_tell_more_or_less_of_its_name(self, name, hostname):
        assert identity.fault_of(name, {"hostname": hostname, "nova": None}) == ""

    @pytest.mark.parametrize(("name", "hostname"), [("a.x.org", "a.y.org"), ("a", "ab"), ("a", "")])
    def test_another_name_is_another_host(self, name, hostname):
        assert identity.fault_of(name, {"hostname": hostname})

    def test_novas_own_name_decides_and_not_the_hostname(self):
        facts = {"hostname": "node-17", "nova": {"host": "compute-1.example.com"}}
        assert identity.fault_of("compute-1.example.com", facts) == ""
        assert "is compute-1.example.com in Nova" in identity.fault_of("compute-1", facts)

    def test_a_host_with_the_name_of_another_is_known_by_its_compute_id(self):
        facts = {"hostname": "c1", "nova": {"host": "c1", "compute_id": "u-1"}}
        assert identity.fault_of("c1", facts, {"u-1"}) == ""
        assert identity.fault_of("c1", facts) == ""
        assert "has the compute_id u-1, in Nova c1 is u-2" in identity.fault_of(
            "c1", facts, {"u-2"}
        )
        # Nova 2023.1 and its like keep no such file.
        facts["nova"]["compute_id"] = None
        assert identity.fault_of("c1", facts, {"u-2"}) == ""


class TestCommand:
    def test_add_makes_the_stack_and_attaches_every_host(self, cloud, capsys):
        heat, done = cloud
        words = ["add", "--pool", "controllers", "--role", "controller", "--role", "glance"]
        assert enroll.main([*words, "--polling-interval", "2", "ctl=10.0.0.1"]) == 0
        stack = heat.stacks["novadocker-hosts-controllers"]
        assert stack["tags"] == "novadocker-hosts"
        assert stack["parameters"]["roles"] == "controller,glance"
        address, mode, settings = done[0]
        assert (address, mode, settings["polling_interval_s"]) == ("10.0.0.1", "apply", 2)
        assert settings["os_collect_config"]["cfn"] == {"secret_access_key": "k"}
        assert "every agent has answered" in capsys.readouterr().out

    def test_a_second_add_keeps_roles_and_places(self, cloud):
        heat, done = cloud
        assert enroll.main(["add", "--pool", "c", "--role", "controller", "a"]) == 0
        assert enroll.main(["add", "--pool", "c", "b"]) == 0
        parameters = heat.stacks["novadocker-hosts-c"]["parameters"]
        assert parameters["roles"] == "controller"
        assert json.loads(parameters["hosts"]) == ["a", "b"]
        assert [address for address, _, _ in done] == ["a", "b"]

    def test_a_large_pool_is_split_by_itself_and_nobody_moves(self, cloud, monkeypatch):
        monkeypatch.setattr(pools, "HOSTS_A_STACK", 2)
        heat, done = cloud
        assert enroll.main(["add", "--pool", "c", "--role", "controller", *"abc"]) == 0
        assert enroll.main(["add", "--pool", "c", *"cde"]) == 0
        stacks = {name: stack for name, stack in heat.stacks.items() if "-hosts-c" in name}
        hosts = {
            name: json.loads(stack["parameters"]["hosts"])
            for name, stack in stacks.items()
            if stack["tags"] == "novadocker-hosts"
        }
        assert hosts == {
            "novadocker-hosts-c": ["a", "b"],
            "novadocker-hosts-c.2": ["c", "d"],
            "novadocker-hosts-c.3": ["e"],
        }
        assert {stacks[name]["parameters"]["roles"] for name in hosts} == {"controller"}
        assert {stacks[name]["parameters"]["pool"] for name in hosts} == {"c"}
        assert keys(heat, "c.2") == {"c": key_of("c"), "d": key_of("d")}
        # Those of one stack are seen to at the same time.
        addresses = [address for address, _, _ in done]
        assert [sorted(addresses[:3]), sorted(addresses[3:])] == [[*"abc"], [*"cde"]]
        # What is taken out makes room, and is taken out of its own part.
        assert enroll.main(["remove", "--forget", "b"]) == 0
        assert enroll.main(["add", "--pool", "c", "f"]) == 0
        shown = heat.stacks["novadocker-hosts-c"]["parameters"]
        assert Roster.of_parameters(shown).active == ("a", "f")

    def test_a_role_is_that_of_all_stacks_of_a_pool(self, cloud, monkeypatch):
        monkeypatch.setattr(pools, "HOSTS_A_STACK", 1)
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        assert enroll.main(["add", "--pool", "c", "--role", "glance", "b"]) == 0
        for name in ("novadocker-hosts-c", "novadocker-hosts-c.2"):
            assert heat.stacks[name]["parameters"]["roles"] == "glance"
        assert [address for address, _, _ in done] == ["a", "b", "b"]

    def test_two_operators_at_once_are_told_who_lost(self, cloud, capsys, monkeypatch):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", "a"])

        def attach(*_arguments, **_options):
            heat.stacks["novadocker-hosts-c"]["parameters"]["hosts"] = json.dumps(["a", "theirs"])

        monkeypatch.setattr(stacks.Enrolment, "attach", attach)
        assert enroll.main(["add", "--pool", "c", "mine"]) == 1
        told = capsys.readouterr().err
        assert "novadocker-hosts-c: has lost mine to somebody who changed the pool" in told

    def test_a_host_that_is_enrolled_twice_is_refused_by_name(self, cloud, monkeypatch):
        heat, _ = cloud
        monkeypatch.setattr(inventory.HostKeys, "of", lambda *_: "a-key")
        enroll.main(["add", "--pool", "c", "a"])
        there = heat.stacks["novadocker-hosts-c"]
        heat.stacks["of-a-pool"] = {**there, "stack_name": "of-a-pool"}
        client = Client(session=ServiceAdapter(session_with(heat.answer), "orchestration"))
        with pytest.raises(Refused, match="a is enrolled in two stacks, .* and of-a-pool"):
            inventory.all_hosts(client)

    def test_a_pool_is_not_called_as_a_part_of_another(self, cloud, capsys):
        assert enroll.main(["add", "--pool", "c.2", "a"]) == 1
        assert "c.2 ends as the further stacks of a pool do" in capsys.readouterr().err

    @pytest.mark.parametrize("words", [["add", "--pool", "c", "x"], ["remove", "a"]])
    def test_a_pool_of_an_earlier_release_is_enrolled_anew_as_a_whole(self, cloud, capsys, words):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        heat.stacks["novadocker-hosts-c"]["parameters"]["host_count"] = "2"
        before = json.dumps(heat.stacks)
        assert enroll.main(words) == 1
        assert "`novadocker-enroll add --pool c a b`" in capsys.readouterr().err
        assert json.dumps(heat.stacks) == before
        assert len(done) == 2
        assert enroll.main(["add", "--pool", "c", "a", "b"]) == 0
        assert enroll.main(words) == 0

    def test_agents_get_no_credentials_of_servers_that_are_about_to_go(self, cloud):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        heat.stacks["novadocker-hosts-c"]["parameters"]["host_count"] = "2"
        heat.nested = ["a", "b"]
        heat.stacks.update({host: {"stack_name": host, "id": "3"} for host in heat.nested})
        done.clear()
        assert enroll.main(["add", "--pool", "c", "a", "b"]) == 0
        given = [settings["os_collect_config"]["cfn"] for _, _, settings in done]
        assert given == [{"secret_access_key": "k"}] * 2

    def test_a_server_that_is_not_waited_for_is_not_asked_for(self, cloud):
        heat, _ = cloud
        enroll.main(["add", "--pool", "c", *"abc"])
        heat.asked.clear()
        assert enroll.main(["add", "--pool", "c", "d"]) == 0
        asked = {path for path in heat.asked if "/resources/server" in path}
        assert asked == {
            "GET /stacks/novadocker-hosts-c/id-of-novadocker-hosts-c/resources/server-d"
        }

    def test_a_host_of_another_pool_is_refused(self, cloud, capsys):
        enroll.main(["add", "--pool", "one", "a"])
        assert enroll.main(["add", "--pool", "two", "a"]) == 1
        assert "a is enrolled in stack novadocker-hosts-one" in capsys.readouterr().err

    def test_a_failed_stack_is_told_with_its_reason(self, cloud, capsys):
        cloud[0].outcome = "FAILED"
        assert enroll.main(["add", "--pool", "c", "a"]) == 1
        assert "is CREATE_FAILED: server-a: no space" in capsys.readouterr().err

    def test_list_shows_hosts_with_roles_and_state(self, cloud, capsys):
        enroll.main(["add", "--pool", "c", "a", "b"])
        capsys.readouterr()
        assert enroll.main(["list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split() == ["HOST", "ROLES", "STACK", "LAST", "MESSAGE"]
        assert [line.split()[0] for line in lines[1:]] == ["a", "b"]
        assert "COMPLETE now" in lines[1]

    def test_remove_takes_the_agent_off_and_the_host_out(self, cloud):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        assert enroll.main(["remove", "a"]) == 0
        assert done[-1][:2] == ("a", "undo")
        assert json.loads(heat.stacks["novadocker-hosts-c"]["parameters"]["removed"]) == ["0"]
        assert enroll.main(["remove", "b"]) == 0
        assert "novadocker-hosts-c" not in heat.stacks

    def test_forget_does_not_go_to_the_host(self, cloud):
        _, done = cloud
        enroll.main(["add", "--pool", "c", "a"])
        assert enroll.main(["remove", "--forget", "a"]) == 0
        assert [mode for _, mode, _ in done] == ["apply"]

    def test_a_compute_pools_stack_is_not_overwritten(self, cloud, capsys):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a"])
        stack = heat.stacks.pop("novadocker-hosts-c")
        heat.stacks["my-pool"] = {**stack, "stack_name": "my-pool"}
        assert enroll.main(["remove", "a"]) == 1
        assert "belongs to the stack my-pool" in capsys.readouterr().err
        assert [mode for _, mode, _ in done] == ["apply"]

    def test_an_unknown_host_is_refused_before_anything(self, cloud, capsys):
        enroll.main(["add", "--pool", "c", "a"])
        assert enroll.main(["remove", "a", "zz"]) == 1
        assert "zz is not enrolled" in capsys.readouterr().err
        assert len(cloud[1]) == 1

    def test_attach_serves_any_stack(self, cloud):
        _, done = cloud
        enroll.main(["add", "--pool", "c", "a", "b"])
        done.clear()
        assert enroll.main(["attach", "novadocker-hosts-c", "b=10.0.0.2"]) == 0
        assert sorted(address for address, _, _ in done) == ["10.0.0.2", "a"]

    def test_attach_finds_the_servers_of_a_pool_by_their_own_type(self, cloud):
        heat, done = cloud
        enroll.main(["add", "--pool", "c", "a"])
        done.clear()
        environment = resources.text("heat_templates/environments/deployed_server.yaml")
        heat.server_type = "Novadocker::Pool::Server"
        assert f"{heat.server_type}: OS::Heat::DeployedServer" in environment
        assert enroll.main(["attach", "novadocker-hosts-c"]) == 0
        assert [address for address, _, _ in done] == ["a"]

    def test_attach_to_no_stack_is_refused(self, cloud, capsys):
        assert enroll.main(["attach", "nowhere"]) == 1
        assert "there is none called nowhere" in capsys.readouterr().err


def test_unreachable_hosts_are_all_named_and_nothing_is_changed(fake_ssh):
    fake_ssh("echo refused >&2; exit 255")
    with pytest.raises(Refused) as caught:
        enroll.keys_of(Ssh(), {"h1": "h1", "h2": "h2"})
    for part in ("h1:", "h2:", "Nothing was changed"):
        assert part in str(caught.value)


def test_an_error_of_heat_is_an_error_of_ours():
    session = session_with(lambda *_request: (500, {"error": "x"}))
    heat = Client(session=ServiceAdapter(session, "orchestration"))
    with pytest.raises(CloudError, match="500"):
        list(Enrolment(heat, print).pools())


def test_the_sdks_own_session_is_used_and_a_heat_that_restarts_is_waited_for(monkeypatch, capsys):
    asked = []
    versions = [
        {"id": "v1.0", "status": "CURRENT", "links": [{"rel": "self", "href": f"{ADDRESS}/v1"}]}
    ]

    def answer(method, path, query, _body):
        asked.append((method, path, query))
        if path == "/":
            return 300, {"versions": versions}
        return (503, {}) if len(asked) < 4 else (200, {"stacks": []})

    connection = Connection(session=session_with(answer))
    monkeypatch.setattr(enroll.openstack, "connect", lambda **_kwargs: connection)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda _seconds: None)
    assert enroll.main(["list"]) == 0
    assert asked[1:] == 3 * [("GET", "/stacks", {"tags": "novadocker-hosts"})]
    assert capsys.readouterr().out.split() == ["HOST", "ROLES", "STACK", "LAST", "MESSAGE"]


@pytest.mark.parametrize("word", ["=10.0.0.1", ""])
def test_a_word_without_a_host_is_refused(word):
    with pytest.raises(Refused, match="HOST=ADDRESS"):
        roster.parse_hosts([word])
