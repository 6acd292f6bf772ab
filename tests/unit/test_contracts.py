# SPDX-License-Identifier: Apache-2.0
"""What programs that cannot import each other must say alike: the list of the hidden couplings.

The driver runs in Nova's environment, the actions in Mistral's, host steps on a host's own Python,
the rest is YAML: a shared module is out of reach, so each row here compares what both sides say.
A side is named by its room and its name, so that a module may move within its room.
"""

from __future__ import annotations

import ast
import configparser
import dataclasses
import fnmatch
import functools
import pathlib
import re
import tomllib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
import yaml
from packaging.requirements import Requirement

from novadocker_actions import host_package
from novadocker_actions.cloud import pages, traits
from novadocker_actions.cloud.mailbox import CONFIG_NAME
from novadocker_actions.plan import holds, inputs, packing
from novadocker_client import holds as client_holds
from novadocker_client import meanings
from novadocker_client import pages as client_pages

TOP = pathlib.Path(__file__).parents[2]
ACTIONS, DRIVER, LAB, TEMPEST = "novadocker_actions", "driver/novadocker", "lab", "tempest_plugin"
CLIENT, DASHBOARD = "novadocker_client", "dashboard/novadocker_dashboard"
TEMPLATES = "heat_templates"
BUNDLE_TEMPLATES = ("compute_pool.yaml", "node_groups.yaml")


def sources(room: str, *files: str) -> Iterator[pathlib.Path]:
    """Return the modules of a room, tests aside; only those called so when file names are given."""
    for path in sorted((TOP / room).rglob("*.py")):
        within = path.relative_to(TOP / room).parts
        if within[0] == "build":
            # The client's folder is its package: a wheel that was built there leaves copies.
            continue
        if ("tests" not in within or room == TEMPEST) and (not files or path.name in files):
            yield path


@functools.cache
def tree(path: pathlib.Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(path.read_text())


def assigned(path: pathlib.Path, name: str) -> Iterator[ast.expr]:
    """Return what is assigned to a name, wherever in the module that is."""
    yield from assigned_in(tree(path), name)


def literals(room: str, *names: str) -> list[Any]:
    """Return what a room's modules assign to these names, as Python values."""
    values = [
        ast.literal_eval(value)
        for path in sources(room)
        for name in names
        for value in assigned(path, name)
    ]
    assert values, f"nothing in {room} is called {' or '.join(names)}"
    return values


def literal(room: str, name: str, *files: str) -> Any:
    """Return the only thing that a room (or its files of these names) assigns to a name."""
    values = [value for path in sources(room, *files) for value in assigned(path, name)]
    assert len(values) == 1, f"{name} is assigned {len(values)} times in {room} {files}, not once"
    return ast.literal_eval(values[0])


def assigned_in(node: ast.AST, name: str) -> Iterator[ast.expr]:
    """Return what is assigned to a name in a piece of code."""
    for item in ast.walk(node):
        match item:
            case ast.Assign(targets=[ast.Name(id=known)], value=value) if known == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=known), value=ast.expr() as value):
                if known == name:
                    yield value


def entry_points(name: str) -> dict[str, dict[str, str]]:
    """Return the entry points that a distribution's project file declares, by group."""
    project = tomllib.loads((TOP / name).read_text())["project"]
    return {**project.get("entry-points", {}), "console_scripts": project.get("scripts", {})}


def strings(node: ast.AST) -> set[str]:
    """Return the strings in a piece of code."""
    return {
        item.value
        for item in ast.walk(node)
        if isinstance(item, ast.Constant) and isinstance(item.value, str)
    }


def says(room: str, *files: str) -> set[str]:
    """Return all strings in a room's modules."""
    return {text for path in sources(room, *files) for text in strings(tree(path))}


def alike(values: list[Any]) -> bool:
    """Whether several places say the same."""
    return all(value == values[0] for value in values)


@functools.cache
def workflows() -> dict[str, Any]:
    """Return the workbook's workflows."""
    return dict(yaml.safe_load((TOP / "workbooks/novadocker.yaml").read_text())["workflows"])


@functools.cache
def template(name: str) -> dict[str, Any]:
    """Return a Heat template."""
    return dict(yaml.safe_load((TOP / TEMPLATES / name).read_text()))


def steps() -> dict[str, ast.Call]:
    """Return the host steps: the call of ``run_step`` that ends each script, by the file's name."""
    return {
        path.stem: node
        for path in sources(f"{TEMPLATES}/configs")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_step"
    }


def settings_of(step: str) -> dict[str, Any]:
    """Return the schema of a step's settings."""
    return dict(literal(f"{TEMPLATES}/configs", "SETTINGS", f"{step}.py")["properties"])


@pytest.fixture(scope="module")
def converting() -> set[str]:
    """The steps that change a host and can be undone, as the actions name them."""
    (table,) = (value for path in sources(ACTIONS) for value in assigned(path, "CONVERTING_STEPS"))
    return {
        ast.literal_eval(node.args[0])
        for node in ast.walk(table)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "HostStep"
    }


def recipes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return the recipes of the workbook, by workflow and task."""
    for name, body in workflows().items():
        for task, given in body["tasks"].items():
            inputs_of = given.get("input") if isinstance(given.get("input"), dict) else {}
            for key in ("recipe", "afterwards"):
                recipe = inputs_of.get(key)
                if isinstance(recipe, dict) and "steps" in recipe:
                    yield name, task, recipe


def test_a_host_step_is_called_like_its_file() -> None:
    assert {name: ast.literal_eval(call.args[0]) for name, call in steps().items()} == {
        name: name for name in steps()
    }


def test_each_converting_step_has_an_undo_and_a_task_that_is_called_like_it(
    converting: set[str],
) -> None:
    undoable = {name for name, call in steps().items() if len(call.args) == 4}
    assert converting <= undoable
    # The workbook calls it so, in the recipes that its tasks have hosts run.
    named_steps = {step for _, _, recipe in recipes() for step in recipe["steps"]}
    assert converting <= named_steps
    assert named_steps <= set(steps())


def test_a_converting_step_has_settings_an_action_and_tasks_that_apply_and_undo_it(
    converting: set[str],
) -> None:
    in_mode: dict[str, list[str]] = {}
    for _, _, recipe in recipes():
        in_mode.setdefault(recipe.get("mode", "apply"), []).extend(recipe["steps"])
    for mode in ("apply", "check", "undo"):
        assert converting <= set(in_mode[mode]), mode
    assert set(in_mode["undo"]) == converting
    # In the order of the table, and back.
    (table,) = (value for path in sources(ACTIONS) for value in assigned(path, "CONVERTING_STEPS"))
    order = [ast.literal_eval(row.args[0]) for row in table.elts]  # type: ignore[attr-defined]
    for _, task, recipe in recipes():
        known = [order.index(step) for step in recipe["steps"] if step in order]
        assert known == sorted(known, reverse=recipe.get("mode") == "undo"), task


def test_a_step_is_pushed_in_the_modes_that_it_knows() -> None:
    modes = set(literal(f"{TEMPLATES}/library", "MODES"))
    assert set(literal(ACTIONS, "MODES")) == modes
    assert {"apply", "check", *literal(ACTIONS, "TAKING_BACK")} == modes
    for room in (ACTIONS, f"{TEMPLATES}/library", f"{TEMPLATES}/configs"):
        assert set(modes_in(room)) - modes == set(), room
    given = [recipe.get("mode", "apply") for _, _, recipe in recipes()]
    assert given
    assert set(given) <= modes


def modes_in(room: str) -> Iterator[str]:
    """Return the modes that a room's code gives, or compares with."""
    for path in sources(room):
        for node in ast.walk(tree(path)):
            match node:
                case ast.keyword(arg="mode", value=ast.Constant(value=str(mode))):
                    yield mode
                case ast.Compare(
                    left=ast.Attribute(attr="mode"),
                    comparators=[ast.Constant() | ast.Tuple() as compared],
                ):
                    items = compared.elts if isinstance(compared, ast.Tuple) else [compared]
                    texts = (getattr(item, "value", None) for item in items)
                    yield from (text for text in texts if isinstance(text, str))


def test_what_is_kept_of_a_host_s_facts_is_what_it_tells() -> None:
    fields = judged_fields()
    told = {*keys(*sources(f"{TEMPLATES}/configs", "describe_host.py"))}
    (options,) = (
        set(ast.literal_eval(ast.Tuple([key for key in node.value.keys if key])))
        for path in sources(f"{TEMPLATES}/library", "probes.py")
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef) and function.name == "nova_options"
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict)
    )
    described = fields["describe_host"]
    assert names_of(described) <= told
    # Those of Nova's configuration: the identity of a host is among them.
    assert {"host", "compute_id"} <= options <= described["nova"].keys()
    for step in set(fields) - {"describe_host"}:
        assert names_of(fields[step]) <= keys(*sources(f"{TEMPLATES}/configs", f"{step}.py")), step
    assert (
        literal(ACTIONS, "DISTURBS") in fields["install_docker"].keys() & fields["install_driver"]
    )


def test_who_a_host_is_is_judged_by_facts_that_are_kept() -> None:
    (identity,) = sources(ACTIONS, "identity.py")
    asked = {
        node.args[0].value
        for node in ast.walk(tree(identity))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and isinstance(node.args[0], ast.Constant)
    }
    assert {"hostname", "compute_id"} <= asked
    assert asked <= names_of(judged_fields()["describe_host"])


def judged_fields() -> dict[str, dict[str, Any]]:
    """Return the facts that the actions keep, by the step that tells them, their types as text."""
    (value,) = (value for path in sources(ACTIONS) for value in assigned(path, "_FIELDS"))

    def plain(node: ast.expr) -> Any:
        if not isinstance(node, ast.Dict):
            return ast.unparse(node)
        return {
            ast.literal_eval(key): plain(kind)
            for key, kind in zip(node.keys, node.values, strict=True)
            if key
        }

    return dict(plain(value))


def names_of(fields: dict[str, Any]) -> set[str]:
    """Return the names of fields, and of those within them."""
    within = (names_of(kind) for kind in fields.values() if isinstance(kind, dict))
    return set(fields).union(*within)


def keys(*paths: pathlib.Path) -> set[str]:
    """Return the names under which modules put something into a dictionary."""
    written: set[Any] = set()
    for path in paths:
        for node in ast.walk(tree(path)):
            match node:
                case ast.Dict(keys=names):
                    written |= {getattr(name, "value", "") for name in names}
                case ast.Call(func=ast.Attribute(attr="update"), keywords=given):
                    written |= {item.arg for item in given}
                case ast.Subscript(slice=ast.Constant(value=name), ctx=ast.Store()):
                    written.add(name)
    return written


def test_verify_host_is_told_what_it_can_be_told() -> None:
    known = set(settings_of("verify_host"))
    given = [
        set(ast.literal_eval(ast.Tuple([key for key in node.keys if key])))
        for path in sources(ACTIONS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict) and "wait_s" in {getattr(k, "value", "") for k in node.keys}
    ]
    given += [
        set(settings)
        for name in ("compute_pool_host.yaml", "node_groups.yaml")
        for settings in mappings(template(name))
        if "wait_s" in settings
    ]
    assert len(given) >= 2
    assert all({"wait_s"} <= names <= known for names in given)


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Return all mappings in a document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from mappings(item)


def test_the_templates_apply_the_steps_that_the_actions_apply(converting: set[str]) -> None:
    configs = {
        name.removesuffix("_config")
        for name, body in template("node_groups.yaml")["resources"].items()
        if body["type"] == "OS::Heat::SoftwareConfig"
    }
    assert configs == converting | {"verify_host"}


def test_the_demonstration_explains_tasks_that_there_are() -> None:
    # In the client's words, which are those of commands and pages as well.
    tasks = {name for body in workflows().values() for name in body["tasks"]}
    assert set(meanings.STEPS) - set(steps()) - tasks == set()


def test_a_step_s_outputs_are_those_that_heat_is_told_and_the_actions_read() -> None:
    (written,) = (
        set(ast.literal_eval(ast.Tuple([key for key in value.keys if key])))
        for path in sources(f"{TEMPLATES}/library")
        for value in assigned(path, "outputs")
        if isinstance(value, ast.Dict) and "deploy_result" in strings(value)
    )
    assert set(literal(ACTIONS, "SAID")) == written
    # The agent adds what proves that they are the host's, and to which push they belong.
    signature = {literal(ACTIONS, "PUSH_ID"), literal(ACTIONS, "SIGNATURE")}
    assert signature <= says(f"{TEMPLATES}/agent", "outcomes.py")
    (asked,) = (value for path in sources(ACTIONS) for value in assigned(path, "_OUTPUTS"))
    assert {"SAID", "PUSH_ID", "SIGNATURE"} == {
        node.attr for node in ast.walk(asked) if isinstance(node, ast.Attribute)
    }
    # The mailboxes carry the signature, too; what a stack of its own runs is not signed.
    for name, mailbox in (
        ("enrolment.yaml", True),
        ("compute_pool_host.yaml", True),
        ("node_groups.yaml", False),
    ):
        declared = [
            {output["name"] for output in body["properties"]["outputs"]}
            for body in template(name)["resources"].values()
            if body["type"] == "OS::Heat::SoftwareConfig"
        ]
        assert all(outputs - signature == written for outputs in declared), name
        assert any(signature <= outputs for outputs in declared) is mailbox, name


def test_a_step_is_given_the_inputs_that_it_reads() -> None:
    inputs = {"mode", "settings", "timeout_s"}
    assert inputs <= says(f"{TEMPLATES}/library", "outcome.py")
    given = [
        {getattr(key, "value", "") for key in node.keys}
        for path in sources(ACTIONS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        and {"mode", "settings"} <= {getattr(key, "value", "") for key in node.keys}
    ]
    assert given
    assert all(inputs <= names for names in given)
    for name in ("compute_pool_host.yaml", "node_groups.yaml"):
        for body in template(name)["resources"].values():
            if body["type"] == "OS::Heat::SoftwareConfig":
                assert {item["name"] for item in body["properties"]["inputs"]} == inputs, name


def test_a_host_looks_for_images_under_the_name_that_the_driver_gives_them() -> None:
    kept = literal(DRIVER, "REPOSITORY", "images.py", "store.py")
    assert literal(TEMPLATES, "REPOSITORY", "verify_host.py") == kept
    made = [literal(DRIVER, "REPOSITORY", *at) for at in (("sandbox.py",), ("kept.py",))]
    prefixes = literal(TEMPLATES, "REPOSITORIES", "driver_leftovers.py")
    assert {name.partition("/")[0] for name in (kept, *made)} == {*prefixes}


def test_the_label_of_instances_that_host_steps_look_for_is_the_drivers() -> None:
    prefix = literal(DRIVER, "LABEL", "names.py")
    given = {
        prefix + ast.literal_eval(key.right)
        for path in sources(DRIVER, "names.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.BinOp) and ast.unparse(key.left) == "LABEL"
    }
    assert literal(TEMPLATES, "INSTANCE_LABEL") in given


def test_the_trait_that_the_driver_reports_is_the_one_that_images_and_aggregates_require() -> None:
    trait = literal(DRIVER, "TRAIT_DOCKER")
    assert alike([trait, literal(ACTIONS, "TRAIT"), literal(TEMPEST, "DOCKER_TRAIT")])


def test_the_traits_that_are_taken_off_a_host_are_all_that_the_driver_reports() -> None:
    words = (
        str(node.value)
        for path in sources(DRIVER)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
    )
    reported = {word for word in words if re.fullmatch(r"CUSTOM_[A-Z_]*[A-Z]", word)}
    assert reported == traits.DRIVERS


def test_a_host_s_key_is_where_all_that_use_it_look_for_it() -> None:
    place = literal(f"{TEMPLATES}/configs", "KEY", "make_host_key.py")
    assert alike([place, *literals(f"{TEMPLATES}/configs", "HOST_KEY")])
    name = literal(f"{TEMPLATES}/library", "HOST_NAME")
    assert {place, name} <= says(f"{TEMPLATES}/agent", "outcomes.py")
    rounds = literal(f"{TEMPLATES}/configs", "PBKDF2_ROUNDS")
    assert rounds == literal(ACTIONS, "_PBKDF2_ROUNDS")
    assert literal(ACTIONS, "KEYS_TAG") in template("host_keys.yaml")["description"]


def test_a_host_knows_the_operator_by_what_the_executor_signs_with() -> None:
    library, agent = f"{TEMPLATES}/library", f"{TEMPLATES}/agent"
    signed = ("FORMAT", "FORMAT"), ("_PURPOSE", "PURPOSE")
    for there, here in signed:
        assert literal(ACTIONS, there, "messages.py") == literal(library, here, "message.py")
    assert literal(library, "SALT_BYTES") == literal(ACTIONS, "_SALT_BYTES", "messages.py")
    # The group of messages is the name of the hook, and of what it refuses nothing before it does.
    group = literal(ACTIONS, "GROUP", "messages.py")
    assert literal(agent, "MESSAGES") == group
    assert any(text.endswith(f"/hooks/{group}") for text in says(f"{TEMPLATES}/configs"))
    places = literal(library, "OPERATOR_KEYS"), literal(f"{TEMPLATES}/configs", "UNSIGNED")
    assert set(places) <= says(agent, "outcomes.py")


def test_agents_and_templates_start_the_package_where_it_is_installed() -> None:
    library = f"{TEMPLATES}/library"
    place = f"{literal(library, 'PACKAGES')}/{literal(library, 'CURRENT')}"
    for name in ("compute_pool_host.yaml", "node_groups.yaml"):
        for body in template(name)["resources"].values():
            if body["type"] == "OS::Heat::SoftwareConfig":
                assert f"readlink -f {place})" in body["properties"]["config"], name


def test_a_stack_brings_each_file_of_the_package_of_host_steps() -> None:
    text = (TOP / TEMPLATES / "host_package.yaml").read_text()
    listed = re.findall(r"^ +(\S+/\S+): \{get_file: (\S+)\}$", text, re.MULTILINE)
    assert all(name == file for name, file in listed)
    made = {name for name in host_package.contents() if "__" not in name}
    assert {name for name, _ in listed if "__" not in name} == made


def test_a_host_that_has_another_package_says_so_in_the_words_that_are_looked_for() -> None:
    (told,) = literals(ACTIONS, "_OTHER_PACKAGE")
    inbox = (TOP / TEMPLATES / "library" / "inbox.py").read_text()
    fake = (TOP / "tests" / "functional" / "workbooks" / "fake_cloud.py").read_text()
    assert f'f"{told}{{message.package[:12]}}' in inbox
    assert told in fake


def test_a_message_has_the_fields_that_the_host_reads() -> None:
    (composed,) = (
        {getattr(key, "value", "") for key in value.keys}
        for path in sources(ACTIONS, "messages.py")
        for value in assigned(path, "message")
        if isinstance(value, ast.Dict)
    )
    kinds = set(literal_keys(f"{TEMPLATES}/library", "KINDS"))
    assert kinds | {"format", "steps"} == composed
    assert {*literal_keys(ACTIONS, "_KINDS"), "format"} == composed


def literal_keys(room: str, name: str) -> list[str]:
    """Return the keys of the only dictionary that a room assigns to a name."""
    (table,) = (value for path in sources(room) for value in assigned(path, name))
    assert isinstance(table, ast.Dict)
    return [ast.literal_eval(key) for key in table.keys if key]


def test_enrolment_tags_the_stacks_that_the_workflows_look_for() -> None:
    tags = literals(ACTIONS, "STACK_TAG")
    assert alike([*tags, literal(ACTIONS, "STACK_PREFIX").removesuffix("-")])
    for name in ("enrolment.yaml", "compute_pool.yaml"):
        assert tags[0] in re.findall(r"[\w-]+", template(name)["description"])


def test_what_is_put_into_a_pool_s_mailbox_is_called_as_what_was_there_first() -> None:
    first = template("compute_pool_host.yaml")["resources"]["mailbox"]["properties"]["name"]
    between, (prefix, host) = first["list_join"]
    assert host == {"get_param": ["hosts", {"get_param": "place"}]}
    assert between.join([prefix, "c1"]) == CONFIG_NAME.format(host="c1")


def test_the_client_reads_the_pages_that_a_run_has_written() -> None:
    items = [{"host": "c\u00e9", "reason": "x" * 9000}]
    packed = packing.pack(items)
    assert isinstance(packed, str)
    assert client_pages.unpack(packed) == packing.unpack(packed) == items

    made: dict[str, Any] = {}
    mistral = mock.Mock()
    mistral.environments.create = made.update
    named = pages.write(mistral, pages.TOLD, "run", items)
    mistral.environments.get.return_value.to_dict.return_value = made
    cloud = mock.Mock(mistral=mistral)
    assert client_pages.read(cloud, named["page"]) == pages.read(mistral, named) == items


def test_a_run_finds_in_another_run_s_task_the_hosts_that_it_works_on() -> None:
    task = literal(ACTIONS, "_SELECT")
    (reads,) = (
        strings(node)
        for path in sources(ACTIONS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef) and node.name == "hosts_of"
    )
    for name in literal(ACTIONS, "CHANGING"):
        published = workflows()[name.removeprefix("novadocker.")]["tasks"][task]["publish"]
        assert {"selected"} <= set(published) & reads, name


def test_a_run_is_asked_to_stop_by_the_name_that_it_looks_for() -> None:
    assert literal(CLIENT, "STOP") == literal(ACTIONS, "STOP")


def test_a_batch_is_approved_by_the_name_that_its_run_looks_for() -> None:
    assert literal(CLIENT, "APPROVE", "signals.py") == literal(ACTIONS, "APPROVE")


def test_the_client_finds_what_a_run_waits_for_where_the_run_has_it() -> None:
    waits = [
        (task, body["workflow"])
        for workflow in workflows().values()
        for task, body in workflow["tasks"].items()
        if "hold" in workflows().get(body.get("workflow", ""), {"input": ()})["input"]
    ]
    assert waits
    named = literal(CLIENT, "TASK", "holds.py"), literal(CLIENT, "WORKFLOW", "holds.py")
    assert {(task, f"{meanings.WORKBOOK}.{name}") for task, name in waits} == {named}
    assert literal(CLIENT, "APPROVAL", "holds.py") == literal(ACTIONS, "APPROVAL", "holds.py")
    hold = holds.Hold("approval", 2, 3, 4, 0.0, 1.0)
    assert client_holds.read({"hold": dataclasses.asdict(hold)}) is not None


def test_a_host_is_described_with_the_glance_units_that_are_configured() -> None:
    for step in ("describe_host.py", "configure_glance.py"):
        (path,) = sources(f"{TEMPLATES}/configs", step)
        assert "import GLANCE_UNITS" in path.read_text() or "GLANCE_UNITS," in path.read_text()
    assert "glance-api.service" in literal(TEMPLATES, "GLANCE_UNITS")


def test_the_engine_is_looked_for_where_it_is_installed() -> None:
    # Once for all steps: who installs it and who describes the host read the same list.
    assert literal(TEMPLATES, "ENGINES")
    for step in ("describe_host.py", "install_docker.py"):
        (path,) = sources(f"{TEMPLATES}/configs", step)
        assert "for name in ENGINES" in path.read_text()


def test_nova_is_given_the_class_that_the_driver_has() -> None:
    name = literal(ACTIONS, "COMPUTE_DRIVER")
    package, _, driver_class = name.rpartition(".")
    entrance = TOP / "driver" / package.replace(".", "/") / "__init__.py"
    assert [ast.literal_eval(value) for value in assigned(entrance, "__all__")] == [[driver_class]]
    assert has(entrance.with_name("driver.py"), driver_class)
    assert settings_of("configure_compute")["compute_driver"]["default"] == name
    assert name in says(f"{DRIVER}/cmd")
    assert literal(TEMPLATES, "DRIVER_PACKAGE", "verify_host.py") == name.split(".")[0]
    for template_name in BUNDLE_TEMPLATES:
        assert template(template_name)["parameters"]["compute_driver"]["default"] == name


def test_pip_is_asked_for_the_distribution_that_the_driver_is() -> None:
    """By the name of its wheel, by default the one that enrolment brought, and without an index."""
    project = tomllib.loads((TOP / "driver/pyproject.toml").read_text())["project"]
    name = project["name"]
    assert literal(TEMPLATES, "NAME", "install_driver.py") == name
    assert name in says(TEMPLATES, "describe_host.py")
    wheel = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    assert re.search(settings_of("install_driver")["wheel"]["pattern"], wheel)
    assert fnmatch.fnmatch(wheel, literal(ACTIONS, "PATTERN", "driver_wheel.py"))
    for template_name in BUNDLE_TEMPLATES:
        parameters = template(template_name)["parameters"]
        names = [parameter for parameter in parameters if parameter.startswith("driver_")]
        assert {"driver_wheel", "driver_sha256", "driver_url", "driver_index"} <= {*names}
        assert [parameters[f"driver_{x}"]["default"] for x in settings_of("install_driver")] == [
            ""
        ] * 4
    for workflow in workflows().values():
        for given in workflow.get("input", ()):
            if isinstance(given, dict):
                assert [given.get(f"driver_{x}") for x in ("url", "index")] == [None, None]


def test_the_lock_holds_what_the_driver_wants_of_its_own() -> None:
    project = tomllib.loads((TOP / "driver/pyproject.toml").read_text())["project"]
    asked = (TOP / "driver/hosts.in").read_text().split("\n\n")[-1].splitlines()
    wanted = [line for line in asked if line and not line.startswith("#")]
    assert wanted == [item for item in project["dependencies"] if item.startswith("docker")]
    lock = (TOP / TEMPLATES / "library/driver.lock").read_text()
    (version,) = re.findall(r"^docker==(\S+)", lock, re.M)
    assert Requirement(wanted[0]).specifier.contains(version)


def test_no_page_has_what_is_ours_come_from_an_index_by_its_name() -> None:
    """Nobody of us has these names on a public index: whoever registers one would own a host."""
    folders = ("driver", "lab", "dashboard", "novadocker_client", ".")
    pages = [path for folder in folders for path in (TOP / folder).glob("*.rst")]
    pages += (TOP / "doc/source").rglob("*.rst")
    assert len(pages) > 30
    named = re.compile(r"pip3? install\b[^\n]*[ ']nova-?docker(-\w+)?(['\[\s]|==)")
    assert named.search("pip install x nova-docker\n")
    assert named.search("pip install 'novadocker-deploy[tempest]'")
    assert not named.search("pip install wheels/novadocker_deploy-*.whl\n")
    assert [str(page) for page in pages if named.search(page.read_text())] == []


def test_glance_accepts_the_format_that_is_published_and_that_the_driver_takes() -> None:
    (accepted,) = settings_of("configure_glance")["container_formats_add"]["default"]
    for room in (ACTIONS, DRIVER, TEMPEST):
        formats = [text for path in sources(room) for text in named(tree(path), "container_format")]
        assert formats, f"{room} names no container format"
        assert set(formats) == {accepted}, room
    assert template("node_groups.yaml")["parameters"]["container_formats"]["default"] == [accepted]


def named(module: ast.Module, name: str) -> Iterator[str]:
    """Return the texts that code gives to a name, or compares with what has it."""
    for node in ast.walk(module):
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if getattr(key, "value", None) == name and isinstance(value, ast.Constant):
                        yield value.value
            case ast.keyword(arg=str(known), value=ast.Constant(value=text)) if known == name:
                yield text
            case ast.Compare(left=ast.Call() as asked, comparators=[ast.Constant(value=text)]):
                if name in strings(asked):
                    yield text


def test_an_export_is_uploaded_from_where_it_was_saved() -> None:
    # Once for both steps, which read it from the library.
    assert len(literals(TEMPLATES, "EXPORTS")) == 1
    for step in ("export_image.py", "upload_image.py"):
        (path,) = sources(f"{TEMPLATES}/configs", step)
        assert "import EXPORTS" in path.read_text()


def test_the_driver_s_engine_is_the_one_that_host_steps_ask() -> None:
    socket = literal(TEMPLATES, "DOCKER_SOCKET")
    # /var/run is /run on every system that has systemd.
    assert f"unix:///var{socket}" in says(DRIVER, "conf.py")


def test_the_agent_s_programs_agree_on_its_places() -> None:
    installed = says(f"{TEMPLATES}/configs", "install_agent.py")
    expected = says(f"{TEMPLATES}/agent", "outcomes.py")
    for place in ("/opt/heat-agent", "/var/lib/heat-config/wake.conf"):
        assert place in installed
        assert place in expected


def has(path: pathlib.Path, name: str) -> bool:
    """Whether a module defines a class or a function of that name."""
    return name in {
        node.name for node in tree(path).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }


@pytest.mark.parametrize(
    ("project", "root"), [("pyproject.toml", "."), ("driver/pyproject.toml", "driver")]
)
def test_an_entry_point_leads_to_what_there_is(project: str, root: str) -> None:
    targets = [target for group in entry_points(project).values() for target in group.values()]
    assert targets
    for target in targets:
        module, _, name = target.partition(":")
        path = TOP / root / f"{module.replace('.', '/')}.py"
        assert path.is_file(), target
        assert has(path, name), target


def test_the_releases_of_nova_with_a_lock_are_those_of_the_contract() -> None:
    text = (TOP / "tools/proofs/driver_keeps_novas_contract").read_text()
    (modes,) = re.findall(r"^declare -A modes=\((.*)\)$", text, re.MULTILINE)
    (releases,) = re.findall(r"^releases=\(([\d ]+)\)$", text, re.MULTILINE)
    proven = sorted(int(release) for release in re.findall(r"\[(\d+)\]=", modes))
    assert [int(release) for release in releases.split()] == proven
    # The newest one is the lab's.
    (newest,) = re.findall(r"^nova==(\d+)", (TOP / "lab/openstack.lock").read_text(), re.MULTILINE)
    locks = sorted(int(path.stem) for path in (TOP / "tools/proofs/nova").glob("*.lock"))
    assert [*locks, int(newest)] == proven


def test_the_oldest_nova_that_a_plan_takes_is_the_oldest_that_is_proven() -> None:
    proven = [int(path.stem) for path in (TOP / "tools/proofs/nova").glob("*.lock")]
    assert literal(ACTIONS, "OLDEST_NOVA") == min(proven)


def test_the_newest_nova_that_a_plan_takes_is_the_newest_that_is_proven() -> None:
    text = (TOP / "tools/proofs/driver_keeps_novas_contract").read_text()
    (releases,) = re.findall(r"^releases=\(([\d ]+)\)$", text, re.MULTILINE)
    assert literal(ACTIONS, "NEWEST_NOVA") == max(map(int, releases.split()))


def test_the_releases_of_horizon_that_are_proven_are_those_that_the_dashboard_is_for() -> None:
    text = (TOP / "tools/proofs/dashboard_releases").read_text()
    (djangos,) = re.findall(r"^declare -A djangos=\((.*)\)$", text, re.MULTILINE)
    (releases,) = re.findall(r"^releases=\(([\d. ]+)\)$", text, re.MULTILINE)
    proven = re.findall(r"\[([\d.]+)\]=", djangos)
    assert releases.split() == proven
    # The newest one is the lab's.
    lock = (TOP / "lab/dashboard.lock").read_text()
    (newest,) = re.findall(r"^horizon==(\d+\.\d+)", lock, re.MULTILINE)
    locks = sorted(path.stem for path in (TOP / "tools/proofs/horizon").glob("*.lock"))
    assert [*locks, newest] == proven
    project = tomllib.loads((TOP / "dashboard/pyproject.toml").read_text())["project"]
    assert f"horizon>={proven[0]}" in project["dependencies"]
    seen = set(re.findall(r"\d+\.\d+", re.sub(r"\[[^]]*\]", "", djangos)))
    assert seen == {"4.2", "5.2"}
    assert "Django>=4.2,<5.3" in project["dependencies"]


def test_the_workbook_calls_the_actions_that_mistral_is_given() -> None:
    tasks = [task for workflow in workflows().values() for task in workflow["tasks"].values()]
    # A task's own action, the one that _recipe is handed, and the one that it has by itself.
    named_actions = {task.get("action") for task in tasks} | {
        task["input"].get("action") for task in tasks if isinstance(task.get("input"), dict)
    }
    named_actions |= {
        value
        for workflow in workflows().values()
        for entry in workflow["input"]
        if isinstance(entry, dict)
        for value in entry.values()
        if isinstance(value, str)
    }
    called = {name for name in named_actions if str(name).startswith("novadocker.")}
    assert called == set(entry_points("pyproject.toml")["mistral.actions"])


def test_the_hooks_of_a_commit_run_what_the_style_phase_runs() -> None:
    tox = configparser.ConfigParser()
    tox.read(TOP / "tox.ini")
    commands = tox["testenv:pep8"]["commands"].replace("{tox_root}/", "").strip().splitlines()
    (repository,) = yaml.safe_load((TOP / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [hook["entry"].rpartition(" -- ")[2] for hook in repository["hooks"]]
    assert [entry for entry in entries if not entry.startswith("git ")] == commands


def test_each_proof_has_its_row_on_the_page_of_proofs() -> None:
    page = (TOP / "doc/source/contributor/proofs.rst").read_text()
    files = [path for path in (TOP / "tools/proofs").iterdir() if path.is_file()]
    proofs = {path.name for path in files if not path.suffix}
    assert set(re.findall(r"^   \* - ``(\w+)``$", page, re.MULTILINE)) == proofs


def test_the_client_has_a_meaning_for_each_input_of_the_workbook_with_its_default() -> None:
    public = {name: body for name, body in workflows().items() if not name.startswith("_")}
    assert set(meanings.WORKFLOWS) == set(public)
    for name, body in public.items():
        defaults = {key: value for entry in body["input"] for key, value in entry.items()}
        # What plan is for: it is on its way out.
        defaults.pop("dry_run", None)
        told = {key: meanings.INPUTS[key].default for key in meanings.WORKFLOWS[name].inputs}
        assert defaults == {k: list(v) if isinstance(v, tuple) else v for k, v in told.items()}, (
            name
        )


def test_the_client_offers_the_words_that_an_input_may_be_and_no_others() -> None:
    for name, told in meanings.INPUTS.items():
        assert list(told.choices) == inputs.FIELDS[name][1].get("enum", []), name


def test_the_client_has_words_for_each_host_step_and_for_each_state_of_a_report() -> None:
    assert set(steps()) - set(meanings.STEPS) == set()
    states = {
        ast.literal_eval(value)
        for path in sources(ACTIONS, "report.py")
        for node in tree(path).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        for value in getattr(node.value, "elts", ())
    }
    assert {"done", "drift"} <= states <= set(meanings.OUTCOMES)


def test_the_client_finds_what_runs_and_enrolment_leave_in_heat_nova_and_glance() -> None:
    assert alike([*literals(ACTIONS, "STACK_TAG"), literal(CLIENT, "STACK_TAG")])
    assert literal(CLIENT, "STACK_PREFIX") == literal(ACTIONS, "STACK_PREFIX")
    reasons = (literal(ACTIONS, "REASON"), literal(ACTIONS, "FAILURE"))
    assert literal(CLIENT, "_REASONS") == reasons
    (mark,) = (
        ast.unparse(node)
        for path in sources(ACTIONS, "glance.py")
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef) and function.name == "mark"
        for node in ast.walk(function)
        if isinstance(node, ast.JoinedStr)
    )
    assert mark == f"f'{literal(CLIENT, 'MARK')}{{image_id}}'"
    assert literal(CLIENT, "ROLL_BACK") in {
        name for body in workflows().values() for name in body["tasks"]
    }


def test_a_runs_message_and_the_commands_lead_to_the_pages_of_the_dashboard() -> None:
    (panel,) = sources(DASHBOARD, "_2190_admin_docker_hosts_panel.py")
    of_panel = {
        name: next(map(ast.literal_eval, assigned(panel, name)))
        for name in ("PANEL", "PANEL_DASHBOARD")
    }
    index = f"{of_panel['PANEL_DASHBOARD']}/{of_panel['PANEL']}/"
    assert literal(CLIENT, "PANEL") == index
    (urls,) = (
        path for path in sources(DASHBOARD, "urls.py") if path.parent.name == panel_of(index)
    )
    page = literal(ACTIONS, "RUN_PAGE").removeprefix(index).format(run_id="<uuid:run_id>")
    assert page in strings(tree(urls))


def panel_of(index: str) -> str:
    """Return the package of a panel whose pages begin so."""
    return index.strip("/").rpartition("/")[2]


def classes_of(path: pathlib.Path) -> list[ast.ClassDef]:
    """Return the classes that a module defines."""
    return [node for node in tree(path).body if isinstance(node, ast.ClassDef)]


def test_all_that_differs_by_package_manager_is_its_class() -> None:
    library = TOP / TEMPLATES / "library"
    (base,) = classes_of(library / "package_manager.py")
    declared = {ast.unparse(node.target) for node in base.body if isinstance(node, ast.AnnAssign)}
    assert {"tool", "engine", "nova"} <= declared
    modules = ("apt.py", "rpm.py")
    managers = {}
    for cls in (cls for module in modules for cls in classes_of(library / module)):
        own = {ast.unparse(node.targets[0]) for node in cls.body if isinstance(node, ast.Assign)}
        if own:
            assert declared <= own, cls.name
            managers[cls.name] = cls
    (known,) = assigned(library / "packages.py", "MANAGERS")
    assert set(managers) == {ast.unparse(item) for item in getattr(known, "elts", [])}
    tools = {
        str(ast.literal_eval(value))
        for node in managers.values()
        for value in assigned_in(node, "tool")
    }
    assert {"apt-get", "dnf"} <= tools
    for path in sources(TEMPLATES):
        if path.name not in (*modules, "packages.py", "apt_locks.py"):
            names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
            assert not (strings(tree(path)) & tools or names & set(managers)), path
