"""A program: an enclosed process where namespaces cannot be nested, as in most pods."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from gateway.guest import enclose


def work() -> None:
    """Try to get at the warm process, leave a child behind, and wait."""
    for action in (
        lambda: os.kill(WARM, 0),
        lambda: os.close(os.open(f"/proc/{WARM}/mem", os.O_RDWR)),
        lambda: os.close(os.open(f"/proc/{WARM}/mem", os.O_RDONLY)),
    ):
        try:
            action()
            said = b"could\n"
        except OSError:
            said = b"refused\n"
        os.write(1, said)
    child = "import os, time; os.setsid(); os.write(1, b'left\\n'); time.sleep(60)"
    subprocess.Popen([sys.executable, "-S", "-c", child])
    time.sleep(60)


WARM = os.getpid()

if __name__ == "__main__":
    warden, lifeline = enclose.fork_enclosed(work, nest=False)
    sys.stdin.read(1)  # until the test has heard from both
    os.close(lifeline)
    code, signal = enclose.outcome(os.waitpid(warden, 0)[1])
    os.write(1, f"{code} {signal}\n".encode())
