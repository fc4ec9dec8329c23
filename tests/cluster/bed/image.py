"""Container images out of this machine's own Python, for pods that run on the real kubelet.

There is no registry here, and none is asked. The images are made of layers that they share:

    pause      Python, and Luigi with what it requires
    task       the same, and what the pipelines in examples/ import
    pipelines  the same, and pipelines below /app/pipelines, as an author's own image has them

Each has a name with a tag and one with its digest, by which Sluice asks for images.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .places import ROOT

TASK_IMAGE = "sluice.test/task:1"
PAUSE_IMAGE = "sluice.test/pause:1"
PIPELINES_IMAGE = "sluice.test/pipelines:1"
PIPELINES = "/app/pipelines"

_NOT_NEEDED = {"site-packages", "test", "tests", "idlelib", "tkinter", "ensurepip"}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_MEDIA = "application/vnd.oci.image"
_CODE = ROOT / "tests" / "fixtures" / "pipelines"


@dataclass(frozen=True)
class _Blob:
    """Bytes of the archive, in memory or in a file."""

    digest: str
    size: int
    content: bytes | Path

    def entry(self, kind: str) -> dict[str, Any]:
        return {"mediaType": f"{_MEDIA}.{kind}", "digest": self.digest, "size": self.size}


def write_images(archive: Path) -> dict[str, str]:
    """Write the images into one OCI archive; return their names by digest, by those with a tag."""
    python = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    drafts = archive.with_suffix(".layers")
    drafts.mkdir()
    ground = _layer(drafts / "python", {**_interpreter(python), **_site(python, ["luigi"])})
    libraries = _layer(
        drafts / "libraries", _site(python, ["matplotlib", "pandas", "vega-datasets"])
    )
    pipelines = _layer(drafts / "pipelines", _pipelines())
    blobs: dict[str, _Blob] = {}
    entries, names = [], {}
    for name, program, layers in (
        (PAUSE_IMAGE, "import signal; signal.pause()", [ground]),
        (TASK_IMAGE, "import luigi; print(luigi.__version__)", [ground, libraries]),
        (PIPELINES_IMAGE, "", [ground, libraries, pipelines]),
    ):
        config = _json(_configuration(python, program, layers))
        parts = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": config.entry("config.v1+json"),
            "layers": [layer.entry("layer.v1.tar") for layer in layers],
        }
        manifest = _json(parts)
        blobs |= {blob.digest: blob for blob in (*layers, config, manifest)}
        names[name] = f"{name.rpartition(':')[0]}@{manifest.digest}"
        entries += [
            {
                **manifest.entry("manifest.v1+json"),
                "annotations": {"io.containerd.image.name": each},
            }
            for each in (name, names[name])
        ]
    with tarfile.open(archive, "w") as file:
        _put(file, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _put(file, "index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
        for blob in blobs.values():
            _put(file, f"blobs/{blob.digest.replace(':', '/')}", blob.content)
    shutil.rmtree(drafts)
    return names


def _configuration(python: Path, program: str, layers: Sequence[_Blob]) -> dict[str, Any]:
    return {
        "architecture": _ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {
            "Cmd": [str(python), "-c", program],
            "Env": [f"PATH={python.parent}", "HOME=/tmp", "USER=task"],
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    }


def _json(value: dict[str, Any]) -> _Blob:
    content = json.dumps(value).encode()
    return _Blob(f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), content)


def _put(file: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    if isinstance(content, Path):
        file.add(content, name)
        return
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    file.addfile(entry, io.BytesIO(content))


def _layer(path: Path, files: dict[str, Path]) -> _Blob:
    """Write files into a layer, for everybody to read and for nobody to change."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o555 if entry.mode & 0o100 else 0o444
        entry.mtime = int(entry.mtime)  # compiled modules hold it so
        return entry

    with tarfile.open(path, "w") as file:
        scratch = tarfile.TarInfo("tmp")
        scratch.type, scratch.mode = tarfile.DIRTYPE, 0o1777
        file.addfile(scratch)
        for target, source in sorted(files.items()):
            file.add(source, target.lstrip("/"), recursive=False, filter=plain)
    with path.open("rb") as written:
        digest = hashlib.file_digest(written, "sha256").hexdigest()
    return _Blob(f"sha256:{digest}", path.stat().st_size, path)


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


def _site(python: Path, distributions: Sequence[str]) -> dict[str, Path]:
    """Return the files of these distributions and of what they require, as far as installed.

    They are where Python looks for them when it is told to look at nothing else (``-I``), with
    their compiled forms where this machine has them.
    """
    said = subprocess.run(
        [python, "-I", "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    folder = said.stdout.strip()
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
            if not {"..", *_NOT_NEEDED} & set(file.parts):
                found |= _with_compiled(f"{folder}/{file}", Path(str(file.locate())))
        waiting += _required(distribution)
    loaded = [source for source in found.values() if source.suffix == ".so"]
    system = ((str(path), path.resolve()) for path in _shared_libraries(loaded))
    return found | {name: path for name, path in system if not path.is_relative_to(sys.prefix)}


def _with_compiled(target: str, source: Path) -> dict[str, Path]:
    found = {target: source}
    if source.suffix == ".py":
        compiled = Path("__pycache__", f"{source.stem}.{sys.implementation.cache_tag}.pyc")
        if (source.parent / compiled).is_file():
            found[str(Path(target).parent / compiled)] = source.parent / compiled
    return {name: path for name, path in found.items() if path.is_file()}


def _required(distribution: importlib.metadata.Distribution) -> list[str]:
    return [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        for requirement in distribution.requires or ()
        if "extra ==" not in requirement
    ]


def _pipelines() -> dict[str, Path]:
    """Return pipelines as an image holds them that was built as we ask: no compiled files."""
    return {
        f"{PIPELINES}/{file.relative_to(_CODE)}": file
        for file in _CODE.rglob("*.py")
        if "__pycache__" not in file.parts
    }
