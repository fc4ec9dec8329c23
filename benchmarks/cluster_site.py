"""A cluster for benchmarks: a bed of its own, with ``deploy/cluster`` installed as it is.

API server, etcd, scheduler and admission are real, nodes are played: what a kubelet costs is not in
any figure. Both accounts of the gateway have the rights that ``deploy/`` gives them and no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster_audit import Audit
from tests.cluster.bed.api import Api
from tests.cluster.bed.installation import ACCOUNTS, installed

ROOT = Path(__file__).parents[1]
_COMMAND = (sys.executable, "-m", "tests.cluster.bed")
_TOKEN_SECONDS = 14_400


class NoClusterError(Exception):
    """No bed can be had here; the message says why."""


@dataclass(frozen=True)
class Site:
    """A bed that is up. ``tokens`` are files, by the account's name in ``ACCOUNTS``."""

    kubeconfig: Path
    admin: Api
    audit: Audit
    tokens: dict[str, Path]


@contextmanager
def site() -> Iterator[Site]:
    """Bring a bed up, install, and take it down again.

    Never uses a cluster that is there, whatever ``KUBECONFIG`` says: others would spoil the
    figures, and benchmarks are no guest for a real one. Raises ``NoClusterError``.
    """
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        state = Path(folder) / "bed"
        environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        environment["SLUICE_CLUSTER_STATE"] = str(state)
        try:
            variables = json.loads(_bed("up", environment) and _bed("env", environment, "--json"))
            kubeconfig = Path(variables["KUBECONFIG"])
            admin = Api.from_kubeconfig(kubeconfig)
            with installed(admin, kubeconfig, ours=True):
                tokens = {name: Path(folder) / f"{name}.token" for name in ("runner", "binder")}
                for name, path in tokens.items():
                    path.write_text(_token(admin, *ACCOUNTS[name]))
                yield Site(
                    kubeconfig, admin, Audit(Path(variables["SLUICE_CLUSTER_AUDIT_LOG"])), tokens
                )
        finally:
            _bed("down", environment)


def _bed(command: str, environment: dict[str, str], *options: str) -> str:
    done = subprocess.run(
        [*_COMMAND, command, *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if command == "env" else None,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise NoClusterError(f"`python -m tests.cluster.bed {command}` failed; it says why above")
    return done.stdout or command


def _token(admin: Api, namespace: str, account: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    wish = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _TOKEN_SECONDS},
    }
    return str(admin.create(path, wish)["status"]["token"])
