"""One state of the policy folder: read once, checked, never changed, named by its digests.

A decision holds on to the snapshot it began with, whatever happens to the files. Test modules are
part of the snapshot and of no decision, so they do not enter the digests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway.canonical import Json, digest, sha256
from gateway.errors import Rejected
from gateway.model import PolicyVersion
from gateway.policy.catalogue import parse_data
from gateway.policy.compiler import data_shape
from gateway.policy.data import PolicyData
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.lexer import TEST_SUFFIX, check_text
from gateway.policy.shape import Shape

MAX_FILES = 2000
MAX_FILE_BYTES = 1_048_576

_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_KINDS = (".rego", ".yaml", ".yml", ".schema.json")


@dataclass(frozen=True)
class Snapshot:
    """A policy as it was read. ``modules`` decide, ``tests`` test them; both by path."""

    version: PolicyVersion
    data: PolicyData
    modules: Mapping[str, str]
    documents: Mapping[str, Json]
    tests: Mapping[str, str]
    shape: Shape  # of `data`, by the schemas

    @property
    def sources(self) -> dict[str, str]:
        """All modules, tests included."""
        return {**self.modules, **self.tests}


def load_snapshot(directory: Path) -> Snapshot:
    """Read and check a policy folder. Blocks: call it in a thread.

    Raises ``PolicyInvalid`` with every finding of text and data; what only the compiler can see is
    found when an engine starts.
    """
    return snapshot_of(read_files(directory))


def snapshot_of(files: Mapping[str, bytes]) -> Snapshot:
    """Make a snapshot of files by their path below the folder. Raises ``PolicyInvalid``."""
    findings: list[Finding] = []
    sources: dict[str, str] = {}
    for path, content in sorted(files.items()):
        if path.endswith(".rego"):
            try:
                sources[path] = content.decode()
            except UnicodeDecodeError:
                findings.append(Finding(path, 0, "not UTF-8"))
            else:
                findings += check_text(path, sources[path])
    modules = {path: text for path, text in sources.items() if not path.endswith(TEST_SUFFIX)}
    if not sources:
        findings.append(Finding(".", 0, "holds no .rego files"))
    try:
        data, documents = parse_data(files)
        data_digest = digest(documents)
    except PolicyInvalid as error:
        raise PolicyInvalid([*findings, *error.findings]) from error
    except Rejected as error:
        reason = f"holds what has no canonical form: {error.public_message}"
        raise PolicyInvalid([*findings, Finding("data", 0, reason)]) from error
    if findings:
        raise PolicyInvalid(findings)
    rego_digest = digest({path: sha256(text.encode()) for path, text in modules.items()})
    revision = "sha256:" + sha256((rego_digest + data_digest).encode())[:16]
    schemas = {name: json.loads(files[f"data/schemas/{name}.schema.json"]) for name in documents}
    return Snapshot(
        version=PolicyVersion(revision, rego_digest, data_digest),
        data=data,
        modules=modules,
        documents=documents,
        tests={path: text for path, text in sources.items() if path not in modules},
        shape=data_shape(schemas),
    )


def read_files(directory: Path) -> dict[str, bytes]:
    """Return the bytes of every policy file, by path. Raises ``PolicyInvalid``."""
    root = directory.resolve()
    if not root.is_dir():
        raise PolicyInvalid([Finding(str(directory), 0, "is not a folder")])
    found: dict[str, bytes] = {}
    findings: list[Finding] = []
    for path in policy_files(root):
        name = path.relative_to(root).as_posix()
        if not _PATH.fullmatch(name):
            findings.append(Finding("?", 0, "a file has a name outside A-Z a-z 0-9 . _ - /"))
        elif len(found) >= MAX_FILES or path.stat().st_size > MAX_FILE_BYTES:
            findings.append(Finding(name, 0, "too many files, or too large a file"))
        else:
            found[name] = path.read_bytes()
    if findings:
        raise PolicyInvalid(findings)
    return found


def policy_files(root: Path) -> list[Path]:
    """Return the paths of all policy files below ``root``, sorted; hidden ones are left out.

    Links are followed inside the folder, as a mounted ConfigMap needs it, and never out of it.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        real = folder.resolve()
        if real in seen or not real.is_relative_to(root):
            continue
        seen.add(real)
        for path in folder.iterdir():
            if path.name.startswith("."):
                continue
            if path.is_dir():
                waiting.append(path)
            elif path.name.endswith(_KINDS) and path.resolve().is_relative_to(root):
                found.append(path)
    return sorted(found)
