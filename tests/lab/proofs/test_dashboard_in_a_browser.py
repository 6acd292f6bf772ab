# SPDX-License-Identifier: Apache-2.0
"""What an administrator and a tenant see in a browser, from the plan of a roll-out to a log."""

from __future__ import annotations

import json
import os
import pathlib
import re
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from openstack.connection import Connection

from lab.client.connection import OPENRC, parse_openrc
from lab.hosts.access import Host
from lab.settings import LabSettings
from lab.stage.demo import FLAVOR, IMAGE, NETWORK
from novadocker_client.connection import Cloud
from tests.browser import Browser

pytestmark = pytest.mark.proof

HOSTS = ("compute-docker-1", "compute-docker-2")
PANEL, CONTAINERS = "/admin/docker_hosts/", "/project/docker_containers/"
TENANT, CONTAINER = "alice", "web-1"
COMMAND = 'sh -c "echo Hello from $PLACE; trap exit TERM; while :; do sleep 1; done"'
# As long as a busy machine takes.
RUN_TIMEOUT_S, PAGE_TIMEOUT_S, BOOT_TIMEOUT_S = 900, 120, 180
# Where a run's page keeps what it shows of hosts at steps: of each row the squares' states.
GRID = """
const live = document.querySelector('.novadocker-live');
const words = cell => cell.innerText.trim();
const look = () => ({
  ended: !!live.querySelector('[data-ended="yes"]'),
  steps: [...live.querySelectorAll('.novadocker-grid .novadocker-step')].map(words),
  hosts: Object.fromEntries(
    [...live.querySelectorAll('.novadocker-grid tbody tr:not(.novadocker-group)')]
      .filter(row => row.querySelector('.novadocker-square'))
      .map(row => [row.querySelector('th').firstChild.data.trim(),
        [...row.querySelectorAll('.novadocker-square')].map(
          cell => cell.querySelector('.sr-only').innerText)])),
});
"""
WATCH = (
    GRID
    + """
window.novadockerSeen = [look()];
new MutationObserver(() => window.novadockerSeen.push(look())).observe(live, {childList: true});
"""
)
seen: list[str] = []


@dataclass(frozen=True)
class Login:
    """A user of the cloud, with a password that is made for this proof."""

    name: str
    password: str


@pytest.fixture(scope="module")
def pictures() -> pathlib.Path:
    """The folder of the photographs: $NOVADOCKER_PICTURES, or one of this run."""
    return pathlib.Path(
        os.environ.get("NOVADOCKER_PICTURES") or tempfile.mkdtemp(prefix="novadocker-pictures-")
    )


@pytest.fixture(scope="module")
def administrator(lab: dict[str, Host]) -> Login:
    """The administrator, whose password the controller has."""
    told = parse_openrc(lab["controller"].read(OPENRC))
    return Login(told["OS_USERNAME"], told["OS_PASSWORD"])


@pytest.fixture(scope="module")
def tenant(cloud: Connection) -> Iterator[Login]:
    """A tenant with a project of her own, both of which are gone afterwards."""
    identity = cloud.identity
    login = Login(TENANT, secrets.token_hex(16))
    project = identity.create_project(name=TENANT, domain_id="default")
    user = identity.create_user(
        name=login.name,
        password=login.password,
        domain_id="default",
        default_project_id=project.id,
    )
    role = identity.find_role("member", ignore_missing=False)
    identity.assign_project_role_to_user(project, user, role)
    yield login
    for server in cloud.compute.servers(all_projects=True, project_id=project.id):
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=BOOT_TIMEOUT_S)
    for image in cloud.image.images(owner=project.id):
        cloud.image.delete_image(image)
    for group in cloud.network.security_groups(project_id=project.id):
        cloud.network.delete_security_group(group)
    identity.delete_user(user)
    identity.delete_project(project)


def log_in(browser: Browser, login: Login, path: str) -> None:
    """Log in on the way to a page."""
    browser.open(path)
    browser.until(lambda: "/auth/login/" in browser.address, "login", PAGE_TIMEOUT_S)
    browser.fill("username", login.name)
    browser.fill("password", login.password)
    browser.click("//button[@id='loginBtn']")
    assert browser.address.startswith(f"{browser.home}{path}"), browser.text


@pytest.fixture(scope="module")
def dashboard(cloud: Connection, lab: dict[str, Host]) -> str:
    """The dashboard's address, as the catalog has it; it answers."""
    lab["controller"].run(["systemctl", "start", "horizon"], timeout_s=330)
    url = Cloud(cloud).dashboard_url()
    assert url == f"http://{LabSettings().controller.address}:8080"
    return url


@pytest.fixture(scope="module")
def desk(dashboard: str, administrator: Login, pictures: pathlib.Path) -> Iterator[Browser]:
    """A browser in which the administrator has logged in."""
    with Browser(dashboard, pictures) as browser:
        log_in(browser, administrator, PANEL)
        yield browser


@pytest.fixture(scope="module")
def planned(bare: None, desk: Browser) -> str:
    """The page of a plan for two hosts, which were chosen in the list."""
    desk.read(HOSTS[0])
    for host in HOSTS:
        desk.tick(host)
    desk.picture("hosts")
    desk.press("Plan...")
    desk.fill("description", "the first two hosts")
    desk.picture("plan-form")
    desk.press("Plan")
    desk.until(lambda: desk.do(f"{GRID} return look().ended"), "end of the plan", RUN_TIMEOUT_S)
    desk.picture("plan")
    return desk.address


def test_a_plan_shows_the_chosen_hosts_and_changes_none(
    planned: str, desk: Browser, docker_hosts: Any
) -> None:
    shown = desk.text
    assert all(host in shown for host in HOSTS), shown
    assert "compute-3" not in shown
    assert docker_hosts() == []
    seen.append("a plan of 2 hosts")


@dataclass(frozen=True)
class Watched:
    """A run as its page has shown it.

    :param run_id: of the run
    :param grids: what the page showed, in order
    :param reloaded: whether it was loaded anew meanwhile
    """

    run_id: str
    grids: list[dict[str, Any]]
    reloaded: bool


@pytest.fixture(scope="module")
def watched(planned: str, desk: Browser) -> Watched:
    """A deploy of that plan, which was begun and watched to its end in the browser."""
    desk.open(planned)
    desk.press("Deploy this plan...")
    desk.picture("deploy")
    desk.press("Deploy")
    loaded = desk.do("return performance.timeOrigin")
    desk.do(WATCH)
    desk.until(
        lambda: desk.do(f"{GRID} return Object.values(look().hosts).flat().includes('running')"),
        "step under way",
        RUN_TIMEOUT_S,
    )
    desk.picture("run")
    desk.until(
        lambda: (
            desk.do(
                f"{GRID} return Object.values(look().hosts).flat().filter(x => x === 'ok').length"
            )
            > 6
        ),
        "steps that are done",
        RUN_TIMEOUT_S,
    )
    desk.picture("run-half")
    desk.until(lambda: desk.do(f"{GRID} return look().ended"), "end of the run", RUN_TIMEOUT_S)
    told = re.search(r"/runs/([0-9a-f-]{36})/", desk.address)
    assert told
    return Watched(
        told.group(1),
        desk.do("return window.novadockerSeen"),
        desk.do("return performance.timeOrigin") != loaded,
    )


def squares(grid: dict[str, Any], host: str) -> dict[str, str]:
    """Return a host's state at each step, as a page has shown it."""
    return dict(zip(grid["steps"], grid["hosts"].get(host, ()), strict=False))


def test_each_step_of_a_deploy_is_seen_while_it_goes_on(
    watched: Watched, docker_hosts: Any
) -> None:
    assert not watched.reloaded
    last = watched.grids[-1]
    assert last["ended"]
    assert {host for host in last["hosts"] if host in HOSTS} == set(HOSTS)
    assert len(last["steps"]) >= 5
    live = [grid for grid in watched.grids if not grid["ended"]]
    for host in HOSTS:
        for step, state in squares(last, host).items():
            if state == "ok":
                states = {squares(grid, host).get(step) for grid in live}
                assert states & {"running", "ok"}, (host, step)
    assert docker_hosts() == sorted(HOSTS)
    seen.append(
        f"a deploy of {len(HOSTS)} hosts at {len(last['steps'])} steps, shown anew"
        f" {len(watched.grids) - 1} times without a reload"
    )


def test_the_report_is_read_where_the_run_was_watched(watched: Watched, desk: Browser) -> None:
    desk.do("window.scrollTo(0, 0)")
    desk.picture("report")
    assert "done" in desk.text
    path = f"{PANEL}runs/{watched.run_id}/report/"
    report = json.loads(desk.fetch(f"{path}json/"))
    states = {row["host"]: row["state"] for row in report["rows"]}
    assert {host: states[host] for host in HOSTS} == dict.fromkeys(HOSTS, "ok")
    assert "<testsuite" in desk.fetch(f"{path}junit/")
    assert HOSTS[0] in desk.fetch(f"{path}html/")
    desk.open(PANEL)
    desk.picture("hosts-after")
    desk.press("Runs")
    desk.picture("runs")
    assert watched.run_id in desk.text
    seen.append("its report as a page and three files")


def test_the_address_in_a_runs_message_leads_to_its_page(
    watched: Watched, desk: Browser, runs: Any
) -> None:
    message = runs.get(watched.run_id).message
    told = re.search(r"https?://\S+/admin/docker_hosts/runs/\S+?/(?=[\s.,]|$)", message)
    assert told, message
    desk.open(told.group())
    assert watched.run_id in desk.text
    assert desk.do(f"{GRID} return look().ended")
    seen.append("the message's address")


def test_the_overview_that_an_administrator_sees_first_has_the_run(
    watched: Watched, desk: Browser
) -> None:
    desk.open("/admin/")
    desk.read("Hypervisors by type:", PAGE_TIMEOUT_S)
    desk.picture("overview")
    card = desk.do("return document.querySelector('[aria-labelledby=novadocker-card]').innerText")
    assert re.search(r"Last run:\s+deploy, .*\s+done\b", card), card
    assert re.search(rf"docker\s+{len(HOSTS)}\b", card), card
    desk.click("//section[@aria-labelledby='novadocker-card']//a[contains(., 'deploy')]")
    assert watched.run_id in desk.address
    seen.append("the run on the Overview")


@pytest.fixture(scope="module")
def archive(watched: Watched, cloud: Connection, tmp_path_factory: Any) -> pathlib.Path:
    """An archive as docker save writes it: the one that the deploy has published."""
    image = cloud.image.find_image(IMAGE, ignore_missing=False)
    path: pathlib.Path = tmp_path_factory.mktemp("archive") / "busybox.tar"
    cloud.image.download_image(image, output=str(path))
    return path


@pytest.fixture(scope="module")
def home(dashboard: str, tenant: Login, pictures: pathlib.Path) -> Iterator[Browser]:
    """A browser in which the tenant has logged in."""
    with Browser(dashboard, pictures) as browser:
        log_in(browser, tenant, CONTAINERS)
        yield browser


def test_a_tenant_boots_a_container_from_an_archive_and_reads_its_log(
    archive: pathlib.Path, home: Browser
) -> None:
    home.press("Upload an archive...")
    home.fill("name", "my-image")
    home.fill("archive", str(archive))
    home.fill("command", COMMAND)
    home.picture("upload")
    home.press("Upload")
    home.read("The image my-image is there.")
    home.press("Boot a container...")
    home.fill("name", CONTAINER)
    home.choose("image", "my-image")
    home.choose("flavor", FLAVOR)
    home.choose("network", NETWORK)
    home.fill("environment", "PLACE=a container")
    home.picture("boot")
    home.press("Boot")
    home.read("ACTIVE", BOOT_TIMEOUT_S)
    home.picture("containers")
    home.press("Log")
    home.read("Hello from a container")
    home.picture("log")
    seen.append("a container from an uploaded archive, and its log")


def test_a_tenant_is_refused_the_administrators_page(home: Browser) -> None:
    home.open(CONTAINERS)
    assert "Docker hosts" not in home.text
    home.open(PANEL)
    home.until(lambda: home.text.strip() != "", "answer")
    home.picture("refused")
    assert not any(host in home.text for host in HOSTS), home.text
    assert "not authorized" in home.text.lower(), home.text
    seen.append("a tenant refused the administrator's page")


def test_figures(pictures: pathlib.Path) -> None:
    print(f"\nfigures: {', '.join(seen)}; photographs in {pictures}")
    assert len(seen) == 7
