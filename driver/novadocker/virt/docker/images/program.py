# SPDX-License-Identifier: Apache-2.0
"""The program that reads archives of tenants, in a process with limits of its own.

Whatever an archive does to whoever reads it, nova-compute is not the one: neither its memory nor
its processor time is spent, and a crash is a refusal. :mod:`.process` starts it, with a request as
JSON on standard input; data, or what was found as JSON, come by standard output, and a refusal by
the exit code and standard error.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from novadocker import exceptions
from novadocker.virt.docker.engine import streams
from novadocker.virt.docker.images import archive, compression, layers

# Exit codes: the archive is refused; it takes more memory than allowed; the host lacks something.
REFUSED, NO_MEMORY, LACKING = 3, 4, 5
# Between the signal that ends the program, and the one that leaves no doubt who has sent it.
SPARE_CPU_S = 2

_CONFIG_ENCODING = "latin-1"  # of any bytes, there and back


def image_to_json(image: archive.Image) -> dict[str, Any]:
    """Return an image as plain data."""
    return {
        "config": image.config.decode(_CONFIG_ENCODING),
        "layers": [
            [layer.member, layer.diff_id, layer.size_bytes, layer.watched] for layer in image.layers
        ],
        "disk_bytes": image.disk_bytes,
    }


def image_from_json(data: dict[str, Any]) -> archive.Image:
    """Return the image that :func:`image_to_json` was given."""
    return archive.Image(
        data["config"].encode(_CONFIG_ENCODING),
        tuple(archive.Layer(*fields) for fields in data["layers"]),
        data["disk_bytes"],
    )


def _unpack(source: IO[bytes], max_bytes: int) -> Iterator[bytes]:
    with compression.plain(source) as reader:
        bounded = compression.Bounded(reader, "the archive", max_bytes)
        while data := bounded.read():
            yield data


def _verify(source: IO[bytes], max_bytes: int, machine: str) -> Iterator[bytes]:
    image = archive.Archive(source, max_bytes).image(machine)
    yield json.dumps(image_to_json(image)).encode()


def _rewrite(
    source: IO[bytes], max_bytes: int, image: dict[str, Any], name: str
) -> Iterator[bytes]:
    yield from archive.Archive(source, max_bytes).rewritten(image_from_json(image), name)


def _clean(
    source: IO[bytes],
    max_bytes: int,
    machine: str,
    without_env: dict[str, str | None],
    without: str | None,
) -> Iterator[bytes]:
    """Yield a saved image without what is the instance's own."""
    saved = archive.Archive(source, max_bytes)
    image = saved.image(machine, without)
    config = _clean_config(json.loads(image.config), without_env)
    content: list[tuple[int, compression.Reader]] = []
    for number, layer in enumerate(image.layers):
        if without and layer.watched:
            left_out = frozenset({without})
            digest, size = _digest(streams.tar_without(saved.content(layer), left_out))
            config["rootfs"]["diff_ids"][number] = digest
            parts = streams.tar_without(saved.content(layer), left_out)
        else:
            size, parts = layer.size_bytes, saved.content(layer)
        content.append((size, streams.Parts(parts)))
    return _written(config, content, max_bytes)


def _flatten(
    source: IO[bytes],
    max_bytes: int,
    config: dict[str, Any],
    without_env: dict[str, str | None],
    without: str | None,
) -> Iterator[bytes]:
    """Yield an image of one layer, an exported file system, without what is the instance's own."""
    left_out = frozenset({without} if without else ())

    def files() -> compression.Bounded:
        source.seek(0)
        parts = streams.tar_without(iter(lambda: source.read(compression.CHUNK), b""), left_out)
        return compression.Bounded(streams.Parts(parts), "the instance", max_bytes)

    bounded = files()
    hashing = layers.Hashing(bounded)
    layers.Inspection().check(hashing, "of all files")
    while hashing.read(compression.CHUNK):
        pass
    config["rootfs"] = {
        "type": "layers",
        "diff_ids": [f"sha256:{hashing.digest.hexdigest()}"],
    }
    return _written(_clean_config(config, without_env), [(bounded.count, files())], max_bytes)


def _written(
    config: dict[str, Any], content: list[tuple[int, compression.Reader]], max_bytes: int
) -> Iterator[bytes]:
    packed = json.dumps(config).encode()
    size = archive.size_bytes(packed, [size_bytes for size_bytes, _content in content])
    if size > max_bytes:
        raise exceptions.ImageRefused(
            f"the instance has {size} bytes; [docker]max_image_size_gb allows {max_bytes}"
        )
    return archive.write(packed, content)


def _digest(parts: Iterable[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for part in parts:
        digest.update(part)
        size += len(part)
    return f"sha256:{digest.hexdigest()}", size


def _clean_config(config: dict[str, Any], without_env: dict[str, str | None]) -> dict[str, Any]:
    """Return an image's configuration without what is the instance's own."""
    cleaned = {
        key: value for key, value in config.items() if key not in ("container", "container_config")
    }
    inner = dict(config.get("config") or {})
    inner["Env"] = [
        kept
        for variable in inner.get("Env") or []
        if (kept := _own_variable(variable, without_env)) is not None
    ]
    for key in ("Hostname", "Domainname", "Image"):
        inner[key] = ""
    for key in ("Labels", "Healthcheck"):
        inner.pop(key, None)
    cleaned["config"] = inner
    return cleaned


def _own_variable(variable: str, without_env: dict[str, str | None]) -> str | None:
    """Return the image's own variable, in the place of the instance's."""
    name = variable.split("=", 1)[0]
    if name not in without_env:
        return variable
    value = without_env[name]
    return None if value is None else f"{name}={value}"


ACTIONS: dict[str, Callable[..., Iterator[bytes]]] = {
    "unpack": _unpack,
    "verify": _verify,
    "rewrite": _rewrite,
    "clean": _clean,
    "flatten": _flatten,
}


def _run(request: dict[str, Any]) -> None:
    with open(request.pop("path"), "rb") as source:
        for part in ACTIONS[request.pop("action")](source, **request):
            sys.stdout.buffer.write(part)
    sys.stdout.buffer.flush()


def main() -> int:
    """Answer one request."""
    request = json.load(sys.stdin)
    _soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_CPU, (max(hard - SPARE_CPU_S, 1), hard))
    try:
        _run(request)
    except exceptions.ImageRefused as err:
        sys.stderr.write(str(err))
        return REFUSED
    except MemoryError:
        return NO_MEMORY
    except (exceptions.DriverError, tarfile.TarError) as err:
        sys.stderr.write(str(err))
        return LACKING
    return 0


if __name__ == "__main__":
    sys.exit(main())
