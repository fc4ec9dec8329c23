"""The order in which the parts come up. ``serve`` is the bed: it lasts as long as the call.

Whatever ends it, a signal, a part that dies, an error on the way up, the parts end in the reverse
order and the folder goes; after an error the logs stay, and the message names them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import yaml

from .api import Api, ApiError, Object
from .builds import cilium_crds, debian_program, program
from .parts import Layout, fake_node
from .places import State
from .processes import Child, running, wait_until

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_START_SECONDS = 180


class _Stopped(Exception):
    """Somebody asked the bed to end."""


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):  # once is enough: the parts are ending
            signal.signal(each, signal.SIG_IGN)
        raise _Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with contextlib.suppress(_Stopped):
        yield


def prepare() -> dict[str, Path]:
    """Have every program of the bed at hand, building what the cache lacks (minutes, the first time)."""
    programs = {"etcd": debian_program("etcd-server", "etcd")}
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    programs.update((name, program(name)) for name in (*names, "cilium-oracle"))
    cilium_crds()
    return programs


def serve(state: State, nodes: int) -> None:
    """Bring the bed up, say so in the state folder, and keep it up until SIGTERM.

    Raises BedError when a part ends or does not become ready.
    """
    programs = prepare()
    with state.held():
        for leftover in ("etcd", "logs", "pki"):
            shutil.rmtree(state.folder / leftover, ignore_errors=True)
        state.logs.mkdir()
        state.audit_log.unlink(missing_ok=True)
        with _stopped_by_signals(), contextlib.ExitStack() as stack:
            _start(state, programs, nodes, stack)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
"""
"""
