"""Programs built from pinned Go modules, kept between runs.

Each folder with a go.mod has its own place in the cache, named by everything that decides the
result: go.mod, go.sum, our own Go files, the Go version and the flags. A program appears there
whole or not at all. Builds run one at a time and at the lowest priority: they take minutes of every
core that they get.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .places import HERE, ROOT, BedError, cache_folder

_VERSION_VARIABLES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True, eq=False)
class GoModule:
    """A folder with a go.mod: what it builds, the module that gives it its version and CRDs."""

    name: str
    programs: Mapping[str, str]
    upstream: str
    crds: str | None = None

    @property
    def folder(self) -> Path:
        """Where the go.mod is."""
        return HERE / self.name


KUBERNETES = GoModule(
    "kubernetes",
    {
        "etcd": "go.etcd.io/etcd/server/v3",  # at the version that Kubernetes itself is tested with
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    },
    upstream="k8s.io/kubernetes",
)
KUBECTL = GoModule(  # of its own: another line in KUBERNETES' go.mod would build all of it anew
    "kubectl", {"kubectl": "k8s.io/kubernetes/cmd/kubectl"}, upstream="k8s.io/kubernetes"
)
KWOK = GoModule(
    "kwok",
    {"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    upstream="sigs.k8s.io/kwok",
    crds="kustomize/crd/bases/kwok.x-k8s.io_logs.yaml",
)
CILIUM = GoModule(
    "cilium-oracle",
    {"cilium-oracle": "."},
    upstream="github.com/cilium/cilium",
    crds="pkg/k8s/apis/cilium.io/client/crds/v2/*.yaml",
)

_PACKAGES = ("containerd", "runc", "containernetworking-plugins")
_DEBIAN = {
    "containerd": Path("usr/bin/containerd"),
    "runc": Path("usr/sbin/runc"),
    "ptp": Path("usr/lib/cni/ptp"),
}
_MODULES = {
    name: module for module in (KUBERNETES, KUBECTL, KWOK, CILIUM) for name in module.programs
}
PROGRAMS = tuple(_MODULES)


def program(name: str) -> Path:
    """Return a built program, building it when the cache has none.

    Raises BedError when there is no Go toolchain or the build fails.
    """
    module = _MODULES[name]
    target = _place(module) / name
    if not target.exists():
        _build(module, name, target)
    return target


def crds() -> list[Path]:
    """Return the CRDs of the same versions as the programs, copied out of their modules."""
    return [file for module in (CILIUM, KWOK) for file in sorted(_crds(module).glob("*.yaml"))]


def debian_program(name: str) -> Path:
    """Return a program of a Debian package: the installed one, else one unpacked into the cache.

    Raises BedError when the packages cannot be had.
    """
    packaged = _DEBIAN[name]
    for searched in (*os.get_exec_path(), f"/{packaged.parent}"):
        if (installed := Path(searched) / name).is_file():
            return installed
    folder = cache_folder() / "debian"
    if not (folder / packaged).exists():
        command = [str(ROOT / "scripts" / "cluster-packages.sh"), str(folder), *_PACKAGES]
        if subprocess.run(command, check=False).returncode != 0:
            raise BedError(f"no {name}; install {', '.join(_PACKAGES)}")
    return folder / packaged


def _crds(module: GoModule) -> Path:
    target = _place(module) / "crds"
    if not target.exists():
        source = Path(_go(module, "list", "-m", "-f", "{{.Dir}}", module.upstream))
        with tempfile.TemporaryDirectory(dir=_make(target.parent)) as scratch:
            copied = _make(Path(scratch) / "crds")
            for file in source.glob(module.crds or ""):
                shutil.copyfile(file, copied / file.name)
            copied.rename(target)
    return target


def _go(module: GoModule, *arguments: str) -> str:
    if (go := shutil.which("go")) is None:
        raise BedError("the cluster bed builds Kubernetes with Go 1.26 or later; put go on PATH")
    done = subprocess.run(
        [go, *arguments], cwd=module.folder, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BedError(f"go {arguments[0]} in {module.folder} failed:\n{done.stderr}")
    return done.stdout.strip()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - progress, for whoever waits


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _flags(module: GoModule) -> list[str]:
    """Linker flags that give Kubernetes' programs their version, as its own release builds do."""
    version = _go(module, "list", "-m", "-f", "{{.Version}}", module.upstream)
    major, minor, _ = version.removeprefix("v").split(".", 2)
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    variables = [
        f"-X {package}.{key}={value}"
        for package in _VERSION_VARIABLES
        for key, value in values.items()
        if module.upstream == KUBERNETES.upstream
    ]
    return ["-trimpath", "-buildvcs=false", "-ldflags=" + " ".join(["-s", "-w", *variables])]


@functools.cache
def _place(module: GoModule) -> Path:
    digest = hashlib.sha256(_go(module, "env", "GOVERSION", "GOOS", "GOARCH").encode())
    digest.update(" ".join(_flags(module)).encode())
    for file in sorted([*module.folder.glob("go.*"), *module.folder.glob("*.go")]):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return cache_folder() / f"{module.name}-{digest.hexdigest()[:16]}"


def _build(module: GoModule, name: str, target: Path) -> None:
    with (_make(cache_folder()) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.exists():  # built by whoever held the lock
            return
        _say(f"building {name} from {module.upstream}; minutes when nothing is cached")
        gentle = ["nice", "-n", "19"]
        if shutil.which("ionice"):
            gentle += ["ionice", "-c", "3"]
        environment = {"CGO_ENABLED": "0", "GOFLAGS": "-p=2", **os.environ}
        began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        with tempfile.TemporaryDirectory(dir=_make(target.parent)) as scratch:
            draft = Path(scratch) / name
            command = [
                *gentle,
                "go",
                "build",
                *_flags(module),
                "-o",
                str(draft),
                module.programs[name],
            ]
            done = subprocess.run(command, cwd=module.folder, env=environment, check=False)
            if done.returncode != 0:
                raise BedError(f"building {name} failed")
            draft.rename(target)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        _say(f"built {name} in {time.monotonic() - began:.0f} s, {cpu:.0f} s of CPU")
