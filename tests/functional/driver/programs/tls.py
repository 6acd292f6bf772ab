# SPDX-License-Identifier: Apache-2.0
"""An engine that is reached by TLS, with a CA of the test's own. Run it in its own namespace."""

from __future__ import annotations

import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

from tests.functional.driver import nova_process  # isort: skip - before anything of Nova's

from novadocker import exceptions
from novadocker.tests.archives import Parts
from novadocker.virt.docker.engine import client, containers, isolation
from novadocker.virt.docker.host.facts import HostFacts
from novadocker.virt.docker.images import spool
from novadocker.virt.docker.images.store import Images
from tests.functional.driver import busybox, own_engine

URL = "tcp://127.0.0.1:2376"
CONF = nova_process.CONF
# The engine says so only after its side of the handshake, and then hangs up.
SHUT_OUT = "alert|EOF occurred|reset by peer|Broken pipe"


class Authority:
    """A CA, and what it signs.

    :param directory: where its files are
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        # Python 3.13 takes no authority that does not say what its key is for (RFC 5280, 4.2.1.3).
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        self._make("ca", "-addext", "basicConstraints=critical,CA:TRUE", *usage)

    @property
    def certificate(self) -> str:
        return str(self.directory / "ca.pem")

    def sign(self, name: str, usage: str, *options: str) -> tuple[str, str]:
        """Make a key and a certificate, and tell their files."""
        signed_by = ("-CA", self.certificate, "-CAkey", str(self.directory / "ca.key"))
        extended = ("-addext", f"extendedKeyUsage={usage}")
        no_ca = ("-addext", "basicConstraints=critical,CA:FALSE")
        return self._make(name, *signed_by, *extended, *no_ca, *options)

    def _make(self, name: str, *options: str) -> tuple[str, str]:
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-keyout", str(key), "-out", str(certificate), *options),
            ],
            check=True,
            capture_output=True,
        )
        return str(certificate), str(key)


class TlsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        nova_process.set_up("novadocker-test-tls", host_url=URL)
        directory = tempfile.TemporaryDirectory(prefix="novadocker-tls-")
        cls.addClassCleanup(directory.cleanup)
        cls.ours = Authority(Path(directory.name) / "ours")
        cls.others = Authority(Path(directory.name) / "others")
        names = "subjectAltName=IP:127.0.0.1,DNS:engine.example"
        certificate, key = cls.ours.sign("engine", "serverAuth", "-addext", names)
        engine = own_engine.running(
            *("--host=tcp://0.0.0.0:2376", "--tlsverify", f"--tlscacert={cls.ours.certificate}"),
            *(f"--tlscert={certificate}", f"--tlskey={key}"),
        )
        engine.__enter__()
        cls.addClassCleanup(engine.__exit__, None, None, None)

    def connect(self, **options: Any) -> client.Engine:
        for name in ("ca_file", "cert_file", "key_file", "host_url", "tls_verify"):
            CONF.clear_override(name, group="docker")
        for name, value in {"host_url": URL, **options}.items():
            CONF.set_override(name, value, group="docker")
        return client.Engine.from_conf(CONF)

    def known(self, authority: Authority, name: str = "compute") -> dict[str, str]:
        certificate, key = authority.sign(name, "clientAuth")
        return {"cert_file": certificate, "key_file": key}

    def refused(self, fault: str, **options: Any) -> None:
        with self.assertRaisesRegex(exceptions.EngineUnreachable, fault):
            self.connect(**options).call("version")

    def test_both_sides_know_each_other(self) -> None:
        engine = self.connect(ca_file=self.ours.certificate, **self.known(self.ours))
        self.assertIn("ApiVersion", engine.call("version"))
        self.assertEqual(engine.url, URL)

    def test_an_engine_of_another_authority_is_not_trusted(self) -> None:
        self.refused(
            "certificate verify failed", ca_file=self.others.certificate, **self.known(self.ours)
        )

    def test_an_engine_that_no_authority_of_the_host_knows_is_not_trusted(self) -> None:
        self.refused("certificate verify failed", **self.known(self.ours))

    def test_an_engine_of_another_name_is_not_trusted(self) -> None:
        self.refused(
            "doesn't match|IP address mismatch",
            ca_file=self.ours.certificate,
            host_url="tcp://127.0.0.2:2376",
            **self.known(self.ours),
        )

    def test_a_client_has_to_show_a_certificate(self) -> None:
        self.refused(
            "alert certificate required|alert bad certificate", ca_file=self.ours.certificate
        )

    def test_a_client_of_another_authority_is_not_let_in(self) -> None:
        self.refused(
            SHUT_OUT,
            ca_file=self.ours.certificate,
            **self.known(self.others),
        )

    def test_verification_is_given_up_only_where_that_is_asked_for(self) -> None:
        engine = self.connect(
            tls_verify=False, ca_file=self.others.certificate, **self.known(self.ours)
        )
        self.assertIn("ApiVersion", engine.call("version"))

    def test_an_instance_lives(self) -> None:
        engine = self.connect(ca_file=self.ours.certificate, **self.known(self.ours))
        workloads = containers.Containers(engine, HostFacts(CONF.host), isolation.Isolation(()))
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        store = Images(engine, spool.Spool(directory.name, CONF.host), None, None, 1 << 30)
        config = {"config": {"Cmd": ["sh", "-c", "echo hello; sleep 60"], "Env": ["PATH=/bin"]}}
        nova_process.serve_image(Parts(layers=[busybox.root_layer()], config=config).docker())
        meta = {"id": nova_process.IMAGE_ID, "container_format": "docker", "size": 1 << 20}
        image = store.ensure(None, meta)
        host_config = engine.call("create_host_config", network_mode="none")
        box = engine.call("create_container", image.id, host_config=host_config)["Id"]
        workloads.start(box)
        self.assertEqual(3, workloads.run(box, ["sh", "-c", "exit 3"], {}))
        self.assertIn(b"hello", workloads.log_tail(box, 10, 1000))
        self.assertTrue(b"".join(workloads.export(box)))
        self.assertTrue(workloads.remove(box))


if __name__ == "__main__":
    unittest.main(verbosity=2)
