# SPDX-License-Identifier: Apache-2.0
"""Make this host's own key pair, once, and tell its public half.

Run over SSH by `novadocker-enroll`, before anything of Heat's is believed of this host. One RSA key
does both that is asked of it, in every OpenSSL from 1.1.1 on: the agent signs outcomes with it
(PSS), and what is for this host alone is sealed with it (OAEP). 3072 bits are worth 128.
"""

from __future__ import annotations

from library.faults import StepFailed
from library.outcome import run_step
from library.step import Step, program_path

SETTINGS = {
    "type": "object",
    "description": "Nothing to set.",
    "additionalProperties": False,
    "properties": {},
}

KEY = "/etc/novadocker/host.key"
KEY_BITS = 3072


def converge(step: Step) -> None:
    """Make the key where there is none; one that is there stays."""
    path = step.path(KEY)
    if not program_path("openssl"):
        raise StepFailed("there is no openssl on this host: install the package openssl")
    if not path.exists():
        if not step.will(f"make {KEY}"):
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        bits = f"rsa_keygen_bits:{KEY_BITS}"
        command = ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", bits, "-out", str(draft)]
        step.run(command)
        draft.rename(path)
    pem = step.run(["openssl", "pkey", "-in", str(path), "-pubout"]).stdout
    step.facts["public_key"] = "".join(pem.strip().splitlines()[1:-1])


if __name__ == "__main__":
    run_step("make_host_key", SETTINGS, converge)
