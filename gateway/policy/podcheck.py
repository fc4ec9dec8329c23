"""Asks of pipelines against what ``pods.yaml`` and ``limits.yaml`` allow; images and their folders.

Runs on values that their schemas have accepted; answers with findings and raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from gateway.policy.findings import Finding
from gateway.policy.lookup import Files, entries, unknown_name, unknown_names
from gateway.policy.pods import CPU, MAX_CPU, MAX_MEMORY, MEMORY
from gateway.policy.quantities import memory_bytes, millicores
from gateway.policy.yamlfile import Path

_IMAGE = re.compile(
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"@sha256:[0-9a-f]{64}"
)
# Folders of a pod that are not, or not only, the image's: what we mount, and the kernel's own.
_NOT_IMAGE = (
    *("data", "sluice", "sluice-code", "sluice-task", "tmp", "workspace"),
    *("dev", "proc", "sys"),
)
_MOUNT = re.compile(r"/data(?:/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}){1,8}")
# Variables that change what runs, or which of our own settings hold.
_OURS = ("SLUICE_", "PYTHON", "LD_", "LUIGI")
_FIXED = ("PATH", "HOME")
_AMOUNTS: Mapping[str, tuple[Callable[[str], int], str, str]] = {
    "cpu": (millicores, CPU, MAX_CPU),
    "memory": (memory_bytes, MEMORY, MAX_MEMORY),
}


def check_pods(files: Files) -> Iterator[Finding]:
    """Find every ask that nothing grants, and every grant that makes no sense."""
    yield from _granted_to_known(files)
    yield from _secrets(files)
    yield from _volumes(files)
    for tier, entry in entries(files, "limits")["tiers"].items():
        for amount, (read, _, most) in _AMOUNTS.items():
            if reason := _fault(read, str(entry.get(f"max_{amount}", most))):
                yield files["limits"].finding(("tiers", tier, f"max_{amount}"), reason)
    for name, entry in entries(files, "pipelines").items():
        yield from _code(files, name, entry)
        yield from _amounts(files, name, entry)
        yield from _grants(files, name, entry)


def _granted_to_known(files: Files) -> Iterator[Finding]:
    pipelines = entries(files, "pipelines")
    for kind in ("secrets", "volumes"):
        for name, entry in _listed(files, kind).items():
            at = (kind, name, "pipelines")
            wanted = entry["pipelines"]
            yield from unknown_names(files["pods"], at, "pipeline", wanted, pipelines)


def _secrets(files: Files) -> Iterator[Finding]:
    for name, entry in _listed(files, "secrets").items():
        variable = entry["env"].upper()
        if variable in _FIXED or variable.startswith(_OURS):
            reason = f"{entry['env']} decides what runs: choose another variable"
            yield files["pods"].finding(("secrets", name, "env"), reason)


def _volumes(files: Files) -> Iterator[Finding]:
    held: dict[str, tuple[str, set[str]]] = {}
    for name, entry in _listed(files, "volumes").items():
        if not _MOUNT.fullmatch(entry["mount"]):
            reason = f"{entry['mount']!r} is no folder below /data, as in /data/{name}"
            yield files["pods"].finding(("volumes", name, "mount"), reason)
        other, classes = held.setdefault(entry["claim"], (name, set(entry["classes"])))
        if classes != set(entry["classes"]):
            reason = f"{other} is the same claim and holds {', '.join(sorted(classes))}"
            yield files["pods"].finding(("volumes", name, "classes"), reason)


def _code(files: Files, name: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    file, source, image = files["pipelines"], entry["source"], entry.get("image")
    if image is not None and not _IMAGE.fullmatch(image):
        reason = "names no image by its digest: write name@sha256:... without a tag"
        yield file.finding((name, "image"), reason)
    if not source.startswith("/"):
        return
    if image is None:
        reason = "is absolute, which is a folder inside an image: name the image"
        yield file.finding((name, "source"), reason)
    elif source.split("/")[1] in _NOT_IMAGE:
        reason = f"/{source.split('/')[1]} of a pod is not the image's: choose another folder"
        yield file.finding((name, "source"), reason)


def _amounts(files: Files, name: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    asked, tier = entry.get("pod", {}), entry["tier"]
    allowed = entries(files, "limits")["tiers"][tier]
    for amount, (read, usual, most) in _AMOUNTS.items():
        want, limit = str(asked.get(amount, usual)), str(allowed.get(f"max_{amount}", most))
        path: Path = (name, "pod", amount)
        if reason := _fault(read, want):
            yield files["pipelines"].finding(path, reason)
        elif not _fault(read, limit) and read(want) > read(limit):
            reason = f"asks for {want} of {amount}, and tier {tier} allows {limit}"
            yield files["pipelines"].finding(path, reason)


def _grants(files: Files, name: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    """Find names that are not granted, and two that would be in each other's place."""
    file = files["pipelines"]
    for kind, what in (("secrets", "secret"), ("volumes", "volume")):
        listed, taken = _listed(files, kind), dict[str, str]()
        for index, wanted in enumerate(entry.get("pod", {}).get(kind, ())):
            at: Path = (name, "pod", kind, index)
            if wanted not in listed:
                yield from unknown_name(file, at, what, wanted, listed)
                continue
            if name not in listed[wanted]["pipelines"]:
                reason = f"{what} {wanted} is not for {name}: data/pods.yaml says for which it is"
                yield file.finding(at, reason)
            place = listed[wanted]["env" if kind == "secrets" else "mount"]
            for other, before in taken.items():
                if place == before or (kind == "volumes" and _nested(place, before)):
                    yield file.finding(at, f"{wanted} is in the place of {other}: {before}")
            taken[wanted] = place


def _nested(one: str, other: str) -> bool:
    first, second = PurePosixPath(one), PurePosixPath(other)
    return first.is_relative_to(second) or second.is_relative_to(first)


def _fault(read: Callable[[str], int], text: str) -> str:
    try:
        read(text)
    except ValueError as error:
        return str(error)
    return ""


def _listed(files: Files, kind: str) -> dict[str, Any]:
    return entries(files, "pods").get(kind) or {}
