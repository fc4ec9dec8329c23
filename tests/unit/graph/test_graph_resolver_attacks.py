"""Pipelines that attack the resolver: endless, greedy, lying and curious ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_resolving import SETTINGS, Resolve, refused

from gateway.errors import Misconfigured

ATTACKS = {
    "endless import": ("while True: pass", "resolve_cpu"),
    "sleeping import": ("import time; time.sleep(60)", "resolve_timeout"),
    "endless requires": (
        """
        class Job(luigi.Task):
            n = luigi.IntParameter(default=0)
            def requires(self):
                return Job(n=self.n + 1)
        """,
        "too_many_tasks",
    ),
    "endless list": (
        """
        class Job(luigi.Task):
            def requires(self):
                while True:
                    yield "x" * (1 << 20)
        """,
        "memory",
    ),
    "cycle": (
        """
        class Job(luigi.Task):
            n = luigi.IntParameter(default=0)
            def requires(self):
                return Job(n=(self.n + 1) % 3)
        """,
        "cycle",
    ),
    "memory": ("x = bytearray(4 << 30)", "memory"),
    "recursion": (
        """
        class Job(luigi.Task):
            def requires(self):
                return self.requires()
        """,
        "requires_failed",
    ),
    "exit": ("raise SystemExit(0)", "import_failed"),
    "leave": ("import os; os._exit(0)", "ended_early"),
    "crash": ("import ctypes; ctypes.string_at(0)", "ended_early"),
    "garbage": (
        """
        import os
        os.write(3, b'{"root": 0, "nodes": [')
        os._exit(0)
        """,
        "result_invalid",
    ),
    "forged graph": (
        """
        import os
        os.write(3, b'{"root": 0, "nodes": [{"family": "Trusted"}]}')
        os._exit(0)
        """,
        "result_invalid",
    ),
    "forged error": (
        """
        import os
        os.write(3, b'{"error": {"code": "denied_by_policy", "message": "ask bob"}}')
        os._exit(0)
        """,
        "result_invalid",
    ),
    "deep garbage": (
        """
        import os
        os.write(3, b'[' * 60000)
        os._exit(0)
        """,
        "result_invalid",
    ),
    "huge answer": (
        """
        import os
        while True:
            os.write(3, b'x' * (1 << 20))
        """,
        "result_too_large",
    ),
    "bare text egress": (
        """
        class Job(luigi.Task):
            egress = "warehouse"
        """,
        "egress_invalid",
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_resolver_ends_every_attack_with_a_reason(resolve: Resolve, name: str) -> None:
    """Whatever the code does, the answer is one of the closed table, in bounded time."""
    code, detail = ATTACKS[name]
    settings = SETTINGS.model_copy(
        update={
            "resolve_seconds": 2.0 if name == "sleeping import" else 30.0,
            "resolve_cpu_seconds": 2,
            "resolve_memory_mb": 512,
            "max_nodes": 50,
        }
    )
    error = await refused(resolve(code=code, settings=settings))
    assert error.detail == detail


async def test_resolver_bounds_what_is_printed(resolve: Resolve) -> None:
    """A flood of output is read and dropped, so the pipeline is not blocked by it either."""
    found = await resolve(
        code="""
        import sys
        for _ in range(200):
            sys.stdout.write("x" * 65535 + "\\n")
        class Job(luigi.Task):
            pass
        """
    )
    assert found.output == "x" * 65_535


async def test_resolver_keeps_the_network_and_the_outside_away(
    resolve: Resolve, tmp_path: Path
) -> None:
    """Code in the resolver finds no key, no way out, and no writable tree."""
    secret = tmp_path / "state" / "installation.key"
    secret.parent.mkdir(mode=0o700, exist_ok=True)
    secret.write_text("key")
    found = await resolve(
        code=f"""
        import os, socket
        def attempt(action):
            try:
                action()
                print("could")
            except OSError:
                print("refused")
        attempt(lambda: open({str(secret)!r}))
        attempt(lambda: open(__file__, "a"))
        attempt(lambda: open("/pipeline/new.py", "w"))
        attempt(lambda: socket.create_connection(("127.0.0.1", 22), 1))
        attempt(lambda: os.kill(2, 9))
        print(os.listdir("/proc/self/fd") and sorted(os.environ))
        class Job(luigi.Task):
            pass
        """
    )
    assert found.output.split("\n")[:5] == ["refused"] * 5
    assert "SLUICE" not in found.output


async def test_resolver_misconfiguration_is_not_the_pipelines_fault(
    resolve: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that cannot be built is told to the operator, not to the author."""
    monkeypatch.setattr("gateway.sandbox.process.host_view", lambda *, network: [])  # noqa: ARG005
    with pytest.raises(Misconfigured) as caught:
        await resolve(code="")
    assert caught.value.code == "sandbox_failed"
