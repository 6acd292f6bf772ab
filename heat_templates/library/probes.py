# SPDX-License-Identifier: Apache-2.0
"""What is asked of a service in its own Python: functions that are sent there as text.

They import what they need themselves, take text, and return what JSON can hold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

CALL = """
import json, sys
print(json.dumps({name}(*sys.argv[1:])))
"""


def program_text(probe: Callable[..., Any]) -> str:
    """Return a program that calls a probe with its arguments and prints the answer as JSON."""
    annotations = "from __future__ import annotations\n"
    return annotations + inspect.getsource(probe) + CALL.format(name=probe.__name__)


def effective_options(wanted: str, program: str, *arguments: str) -> dict[str, dict[str, str]]:
    """Return options as Nova reads them with a command line, by section and name.

    oslo.config itself is asked: it reads default drop-in directories before the files that a
    command line names, so a unit with --config-file can win over a drop-in.

    :param wanted: JSON of names by section
    """
    import json

    from oslo_config import cfg
    from oslo_log import log

    conf = cfg.ConfigOpts()
    log.register_options(conf)
    sections = json.loads(wanted)
    for section, names in sections.items():
        options = [cfg.StrOpt(name) for name in names]
        conf.register_opts(options, None if section == "DEFAULT" else section)
    conf(list(arguments), project="nova", prog=program)
    return {
        section: {name: (conf if section == "DEFAULT" else conf[section])[name] for name in names}
        for section, names in sections.items()
    }


def nova_options(program: str, *arguments: str) -> dict[str, str | None]:
    """Return which driver Nova is configured for, and what it calls this host and its compute node.

    Only the few options that are asked for are registered, which is quick; oslo.config is right
    about defaults, drop-in directories and the order of the command line.
    """
    import importlib.util
    import os

    from oslo_config import cfg
    from oslo_log import log

    conf = cfg.ConfigOpts()
    log.register_options(conf)
    package = importlib.util.find_spec("nova")
    base = os.path.dirname(os.path.dirname(str(package and package.origin)))
    conf.register_opts(
        [
            cfg.StrOpt("compute_driver"),
            cfg.StrOpt("host"),
            cfg.StrOpt("pybasedir", default=base),
            cfg.StrOpt("state_path", default="$pybasedir"),
        ]
    )
    conf(list(arguments), project="nova", prog=program)
    compute_id = None
    for folder in [*map(os.path.dirname, conf.config_file), conf.state_path]:
        try:
            with open(os.path.join(folder, "compute_id")) as file:
                compute_id = compute_id or file.read(40).strip()
        except OSError:
            continue
    return {"compute_driver": conf.compute_driver, "host": conf.host, "compute_id": compute_id}


def nova_driver(*command: str) -> dict[str, str]:
    """Load Nova's configuration and its driver's class, as nova-compute does at its start."""
    import sys

    sys.argv = list(command)
    import nova.cmd.compute  # noqa: F401 - registers options and patches what Nova patches
    from nova import config, utils
    from nova.virt import driver
    from oslo_utils import importutils

    config.parse_args(sys.argv, configure_db=False, init_rpc=False)
    name = config.CONF.compute_driver
    loaded = importutils.import_class("nova.virt." + name)
    if not issubclass(loaded, driver.ComputeDriver):
        raise SystemExit(name + " is not a nova.virt.driver.ComputeDriver")
    return {
        "compute_driver": name,
        "driver": loaded.__module__ + "." + loaded.__name__,
        "root_helper": utils.get_root_helper(),
        "state_path": config.CONF.state_path,
    }


def engine_ping(path: str) -> str:
    """Ask the Docker Engine for a sign of life, as the user that this runs as."""
    import http.client
    import socket

    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(path)
    connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    return answer.read().decode()


def container_fault(*command: str) -> str:
    """Start a container as the driver does, and remove it; return why it does not start, or ""."""
    import contextlib
    import os
    import sys

    sys.argv = list(command)
    import nova.cmd.compute  # noqa: F401 - registers options and patches what Nova patches
    from nova import config

    from novadocker import conf, exceptions
    from novadocker.virt.docker.engine import client, sandbox

    conf.register(config.CONF)
    config.parse_args(sys.argv, configure_db=False, init_rpc=False)
    engine = client.Engine.from_conf(config.CONF)
    sandboxes = sandbox.Sandboxes(engine)
    name = f"nova-docker-verify-{os.getpid()}"
    try:
        sandboxes.ensure_image()
        sandboxes.create(name, {}, None, [])
        sandboxes.start(name)
    except exceptions.DriverError as err:
        return str(err)
    finally:
        with contextlib.suppress(exceptions.NotFound):
            engine.call("remove_container", name, force=True)
    return ""


def versions(*names: str) -> dict[str, str | None]:
    """Return the versions of distributions, None where one is missing, and that of Python."""
    import importlib.metadata
    import platform

    answer: dict[str, str | None] = {"python": platform.python_version()}
    for name in names:
        try:
            answer[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            answer[name] = None
    return answer


def inventory(without: str = "", only: str = "") -> dict[str, Any]:
    """Return what the environment holds, by which archives, and where pip would put more.

    :param without: a directory that is left out
    :param only: the one directory that is looked at
    """
    import importlib.metadata
    import json
    import pathlib
    import re
    import sys
    import sysconfig

    packages: dict[str, str] = {}
    archives: dict[str, str] = {}
    places = [only] if only else [place for place in sys.path if not without or place != without]
    for dist in importlib.metadata.distributions(path=places):
        if dist.metadata and dist.metadata["Name"]:
            name = re.sub(r"[-_.]+", "-", dist.metadata["Name"]).lower()
            if name in packages:
                continue
            packages[name] = dist.version
            origin = json.loads(dist.read_text("direct_url.json") or "{}")
            kind, _, digest = origin.get("archive_info", {}).get("hash", "").partition("=")
            if kind == "sha256" or "dir_info" in origin:
                archives[name] = digest or "checkout"
    return {
        **{"packages": packages, "archives": archives},
        "virtual": sys.prefix != sys.base_prefix,
        "managed": pathlib.Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").exists(),
    }


def site_packages() -> str:
    """Return where the environment's packages are, whose ``.pth`` files are read."""
    import sysconfig

    return sysconfig.get_path("purelib")


def distribution_files(name: str, only: str = "") -> dict[str, Any]:
    """Return where a distribution is installed, which files it has there, and if they can move.

    :param only: the one directory that is looked at
    """
    import importlib.metadata
    import json
    import os
    import sys

    places = [only] if only else sys.path
    (dist, *_others) = importlib.metadata.distributions(name=name, path=places)
    origin = json.loads(dist.read_text("direct_url.json") or "{}")
    return {
        "place": os.path.realpath(str(dist.locate_file(""))),
        "files": [str(path) for path in dist.files or ()],
        "checkout": origin.get("url", "") if "dir_info" in origin else "",
    }
