"""Bringing the bed up and down from another process, and finding one that is there.

The bed itself is a process of its own (``serve``), in a session of its own, so that it outlives the
command that asked for it and no terminal's Ctrl-C reaches it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from .bringing_up import Size, prepare
from .places import ROOT, BedError, State
from .processes import tail

COMMAND = (sys.executable, "-m", "tests.cluster.bed")
_STOP_SECONDS = 60


def find(state: State) -> dict[str, str] | None:
    """Return the environment of the cluster to use, or None when there is none.

    A ``KUBECONFIG`` that is not the bed's own comes first.
    """
    named = os.environ.get("KUBECONFIG")
    if named and Path(named) != state.kubeconfig:
        return {"KUBECONFIG": named}
    return state.variables()


def bring_up(state: State, size: Size) -> dict[str, str]:
    """Return the environment of the cluster that is there, bringing up the bed when there is none.

    Raises BedError with the end of its log when it does not come up.
    """
    if (variables := find(state)) is not None:
        return variables
    prepare(size)  # here, where somebody sees how long it takes
    state.create()
    with state.log.open("wb") as output:
        bed = subprocess.Popen(
            [*COMMAND, "serve", f"--nodes={size.nodes}", *(["--kubelet"] if size.kubelet else [])],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while (variables := state.variables()) is None:
        if bed.poll() is not None and state.holder() is None:  # else another is coming up
            raise BedError(f"it did not come up:\n{tail(state.log, 30)}")
        time.sleep(0.1)
    return variables


def bring_down(state: State) -> None:
    """End the bed and wait until it has ended; do nothing when none is up.

    Raises BedError when it does not end within a minute.
    """
    if (holder := state.holder()) is None:
        return
    os.kill(holder, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while state.holder() == holder:
        if time.monotonic() > deadline:
            raise BedError(
                f"process {holder} did not end within {_STOP_SECONDS} s; see {state.logs}"
            )
        time.sleep(0.1)
