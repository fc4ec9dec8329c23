"""A container image out of this machine's own Python, for pods that run on the real kubelet.

There is no registry here, and none is asked. The image is an OCI archive with one layer: the
interpreter, its standard library, the shared libraries that these load, and some installed
distributions with what they require. Two names share the layer: the task's image, and the one that
holds a pod's namespaces open.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

TASK_IMAGE = "sluice.test/task:1"
PAUSE_IMAGE = "sluice.test/pause:1"

_SITE = "/site"
_NOT_NEEDED = {"__pycache__", "site-packages", "test", "idlelib", "tkinter", "ensurepip"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def write_images(archive: Path, distributions: Sequence[str]) -> None:
    """Write both images into one archive, with these distributions importable in them."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    environment = [f"PATH={python.parent}", f"PYTHONPATH={_SITE}", "HOME=/tmp", "USER=task"]
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    def image(name: str, program: str) -> dict[str, Any]:
        config = {
            "architecture": _ARCHITECTURES[platform.machine()],
            "os": "linux",
            "config": {"Cmd": [str(python), "-c", program], "Env": environment},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": add(json.dumps(config).encode(), "config.v1+json"),
            "layers": [layer],
        }
        entry = add(json.dumps(manifest).encode(), "manifest.v1+json")
        return {**entry, "annotations": {"io.containerd.image.name": name}}

    layer = add(_layer(python, distributions), "layer.v1.tar")
    index = {
        "schemaVersion": 2,
        "manifests": [
            image(TASK_IMAGE, "import luigi; print(luigi.__version__)"),
            image(PAUSE_IMAGE, "import signal; signal.pause()"),
        ],
    }
    with tarfile.open(archive, "w") as file:
        _put(file, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _put(file, "index.json", json.dumps(index).encode())
        for name, content in blobs.items():
            _put(file, name, content)


def _put(file: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    file.addfile(entry, io.BytesIO(content))


def _layer(python: Path, distributions: Sequence[str]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        file.addfile(scratch)
        for target, source in sorted({**_interpreter(python), **_site(distributions)}.items()):
            file.add(source, target.lstrip("/"), recursive=False)
    return content.getvalue()


def _interpreter(python: Path) -> dict[str, Path]:
    """Python at the same path as here, because that is compiled into it."""
    library = Path(sysconfig.get_path("stdlib"))
    modules = [
        file
        for file in library.rglob("*")
        if file.is_file()
        and not _NOT_NEEDED & set(file.relative_to(library).parts)
        and file.suffix != ".a"
    ]
    loaded = [python, *(file for file in modules if file.suffix == ".so")]
    names = (python, python.with_name("python3"), *modules)
    return {str(name): name.resolve() for name in (*names, *_shared_libraries(loaded))}


def _shared_libraries(programs: Sequence[Path]) -> Iterator[Path]:
    """Yield what the dynamic loader says that these programs load."""
    ldd = shutil.which("ldd") or "/usr/bin/ldd"
    said = subprocess.run([ldd, *map(str, programs)], capture_output=True, text=True, check=False)
    for line in said.stdout.splitlines():
        if found := re.match(r"\t(?:\S+ => )?(/\S+) \(0x", line):
            yield Path(found[1])


def _site(distributions: Sequence[str]) -> dict[str, Path]:
    """Return the files of these distributions and of what they require, as far as installed."""
    found: dict[str, Path] = {}
    waiting, done = list(distributions), set[str]()
    while waiting:
        name = waiting.pop()
        if name in done:
            continue
        done.add(name)
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # required on other platforms only
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                found[f"{_SITE}/{file}"] = Path(str(file.locate()))
        waiting.extend(
            re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            for requirement in distribution.requires or ()
            if "extra ==" not in requirement
        )
    return found
