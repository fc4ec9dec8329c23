"""What holds an attempt together where it cannot have namespaces of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from gateway.guest import enclose

PROGRAM = Path(__file__).with_name("guest_unnested.py")


def test_enclose_without_namespaces_still_keeps_apart_and_ends_all() -> None:
    """Landlock refuses the warm process; the warden takes along what left its session."""
    with subprocess.Popen(
        [sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        said = [program.stdout.readline().strip() for _ in range(4)]
        rest, _ = program.communicate("x", timeout=20)  # ends when the last process has ended
    assert said == ["refused", "refused", "refused", "left"]
    assert rest == "None 9\n"


def test_enclose_outcome_tells_codes_from_signals() -> None:
    """The warden repeats a code, and adds 128 to a signal, as shells do."""
    exit_with = 1 << 8
    assert enclose.outcome(7 * exit_with) == (7, None)
    assert enclose.outcome((128 + 9) * exit_with) == (None, 9)
    assert enclose.outcome(9) == (None, 9)  # the warden itself was killed
