"""A program: start a sandbox where neither user namespaces nor capabilities are to be had.

As in a container with the usual profile. Prints what happened as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from gateway.errors import Misconfigured
from gateway.sandbox.pipes import CappedPipe
from gateway.sandbox.process import SandboxProcess
from gateway.sandbox.spec import Limits, SandboxSpec
from gateway.sandbox.walls import kernel, users

CODE = """
import os, subprocess, sys
try:
    print(open(sys.argv[1]).read())
except PermissionError:
    print("refused")
print(open(sys.argv[2]).read(), os.getcwd() == os.environ["TMPDIR"])
open("scratch", "w").close()
child = "import os, time; os.setsid(); print('lives', flush=True); time.sleep(60)"
subprocess.Popen([sys.executable, "-I", "-S", "-c", child])
"""
LIMITS = Limits(cpu_seconds=10, memory_mb=512, file_mb=1, processes=16)


def become_poor() -> None:
    """Give up what a container does not have."""
    user, group = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    users.map_self(user, group, user)
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


async def main(secret: str, tree: str) -> None:
    """Run code that tries for the secret and leaves a child; then demand what is not there."""
    spec = SandboxSpec(LIMITS, read_only=((Path(tree), "/pipeline"),))
    argv = [sys.executable, "-I", "-S", "-c", CODE, secret, "/pipeline/module.py"]
    with CappedPipe(10_000) as output:
        fds = {1: output.write_end, 2: output.write_end}
        async with await SandboxProcess.start(spec, argv, fds=fds) as process:
            output.given_away()
            status = await process.wait()
        said = await output.collect()  # ends when the child has ended as well
    refused = None
    try:
        await SandboxProcess.start(
            SandboxSpec(LIMITS, required_layers=frozenset({"pid_namespace"})), argv
        )
    except Misconfigured as error:
        refused = [error.code, error.field]
    sys.stdout.write(json.dumps([status, said.decode(), dict(process.layers), refused]))


if __name__ == "__main__":
    become_poor()
    asyncio.run(main(*sys.argv[1:]))
