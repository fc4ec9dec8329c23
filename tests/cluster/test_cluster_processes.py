"""The bed's own promises, which need no cluster: nothing outlives it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from bed.places import HERE, State

PARENT = """
import sys, time
from pathlib import Path
from bed.processes import running
with running("sleeper", ["sleep", "600"], Path(sys.argv[1])) as child:
    print(child.process.pid, flush=True)
    time.sleep(600)
"""
HOLDER = """
import sys, time
from pathlib import Path
from bed.places import State
state = State(Path(sys.argv[1]))
state.create()
with state.held():
    state.announce({"KUBECONFIG": "x"})
    print("held", flush=True)
    time.sleep(600)
"""


def start(program: str, folder: Path) -> tuple[subprocess.Popen[str], str]:
    """Run a program that prints one line and waits; return it and the line."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_bed_parts_die_with_a_killed_bed(tmp_path: Path) -> None:
    """A bed that is killed outright, with no chance to clean up, leaves no part running."""
    parent, line = start(PARENT, tmp_path)
    child = int(line)
    assert alive(child)
    with parent:
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def test_bed_killed_is_not_up(tmp_path: Path) -> None:
    """What a killed bed announced counts for nothing: its lock went with it."""
    state = State(tmp_path / "state")
    holder, line = start(HOLDER, state.folder)
    assert line == "held"
    assert state.holder() == holder.pid
    assert state.variables() == {"KUBECONFIG": "x"}
    with holder:
        holder.send_signal(signal.SIGKILL)
    assert state.holder() is None
    assert state.variables() is None
