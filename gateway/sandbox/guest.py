"""Put the Luigi guest behind the walls: where its files are seen, and how it is called.

The guest itself is ``gateway/guest``; its docstring fixes the protocol. Inside, the pipeline's
tree is ``/pipeline`` (read-only), the scratch folder ``/workspace``, the guest ``/guest``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from gateway.canonical import Json
from gateway.sandbox.spec import Limits, SandboxSpec
from gateway.sandbox.view import site_packages

GUEST = Path(__file__).parent.parent / "guest"
CHANNEL_FD = 3  # resolve: where the result is written; serve: the SOCK_SEQPACKET socket
SPEC_FD = 4  # JSON, read once


def guest_sandbox(
    tree: Path,
    workspace: Path | None,
    limits: Limits,
    *,
    network: bool = False,
    tmp_mb: int = 256,
    required_layers: frozenset[str] = frozenset(),
) -> SandboxSpec:
    """Return the sandbox of a guest: ``tree`` at /pipeline, ``workspace`` at /workspace.

    Without a workspace the guest works in its own empty ``/tmp``.
    """
    return SandboxSpec(
        limits=limits,
        read_only=((tree, "/pipeline"), (GUEST, "/guest")),
        writable=((workspace, "/workspace"),) if workspace else (),
        workdir="/workspace" if workspace else "/tmp",  # noqa: S108 - the sandbox's own
        network=network,
        tmp_mb=tmp_mb,
        required_layers=required_layers,
    )


def guest_argv(mode: Literal["resolve", "serve"], sandbox: SandboxSpec) -> list[str]:
    """Return the command line; give it ``{CHANNEL_FD: ..., SPEC_FD: ...}`` as descriptors."""
    flags = ["-I", "-S", "-B"]
    return [sys.executable, *flags, "/guest/__main__.py", mode, "/pipeline", sandbox.workdir]


def guest_spec(module: str, code_digest: str, **more: Json) -> int:
    """Return a descriptor from which the guest reads its spec; the caller closes it.

    ``more`` for ``resolve``: ``family``, ``parameters``; for both: ``max_nodes``, ``max_edges``.
    """
    value: Mapping[str, Json] = {
        "module": module,
        "code_digest": code_digest,
        "site_packages": [str(path) for path in site_packages()],
        **more,
    }
    return json_descriptor(value)


def json_descriptor(value: Json) -> int:
    """Return an anonymous file that holds ``value`` as JSON, positioned at its start."""
    descriptor = os.memfd_create("sluice-json", os.MFD_CLOEXEC)
    with open(os.dup(descriptor), "wb") as stream:  # noqa: PTH123 - a descriptor, not a path
        stream.write(json.dumps(value).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
