"""Pipelines resolved by the real resolver: in its sandbox, by the real Luigi, attacks included."""

from __future__ import annotations

import asyncio
import os
import shutil
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import IntegrityViolation, Misconfigured
from gateway.graph.failures import Unresolvable
from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.sandbox.spec import LAYERS
from gateway.settings import SandboxSettings

PIPELINES = Path(__file__).parents[2] / "fixtures" / "pipelines"
SETTINGS = SandboxSettings(
    resolve_seconds=20, resolve_cpu_seconds=10, resolve_memory_mb=1024, max_nodes=5000
)
KEY = b"k" * 32

Resolve = Callable[..., Awaitable[Resolution]]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    """Resolve a fixture pipeline by name, or some code that is given."""

    async def call(
        name: str = "pipe",
        family: str = "Job",
        parameters: Mapping[str, str] | None = None,
        *,
        code: str | None = None,
        shown: frozenset[str] = frozenset({"date", "n", "level"}),
        settings: SandboxSettings = SETTINGS,
        **more: Any,
    ) -> Resolution:
        source = PIPELINES / name
        if code is not None:
            source = tmp_path / "source"
            source.mkdir(exist_ok=True)
            (source / f"{name}.py").write_text("import luigi\n" + textwrap.dedent(code))
        resolver = SandboxResolver(settings, tmp_path / "state" / "code", KEY, frozenset(LAYERS))
        given = {"emits": {"warehouse": {"pii"}, "bucket": {"internal"}}, **more}
        return await resolver.resolve(
            source=source,
            module=name,
            family=family,
            parameters=parameters or {},
            shown=shown,
            **given,
        )

    return call


async def refused(call: Awaitable[Resolution]) -> Unresolvable:
    """Return why there is no graph."""
    with pytest.raises(Unresolvable) as caught:
        await call
    return caught.value


async def test_resolver_gives_the_whole_graph(resolve: Resolve, tmp_path: Path) -> None:
    """Kinds, masks, classes, limits, code, layers: everything that policy will see."""
    found = await resolve("shop", "Report", {"date": "2026-01-02", "note": "for ann"})
    graph = found.graph
    nodes = {node.family: node for node in graph.nodes.values()}
    assert {family: node.kind for family, node in nodes.items()} == {
        "Raw": "external",
        "Clean": "task",
        "Part": "possible",
        "Split": "task",
        "Report": "wrapper",
    }
    assert nodes["Report"].carries == ("internal", "pii")
    assert nodes["Raw"].carries == ()
    assert nodes["Part"].limit == 3
    assert nodes["Clean"].resources == {"warehouse": 1}
    assert nodes["Clean"].parameters["date"] == "2026-01-02"
    assert nodes["Clean"].parameters["token"].startswith("hmac-sha256:")
    assert graph.clear_parameters(nodes["Clean"].key) == {"date": "2026-01-02", "token": "t0ken"}
    assert graph.clear_parameters(graph.root)["note"] == "for ann"
    assert "t0ken" not in str(graph.to_json()) + repr(found)
    assert found.code_path == tmp_path / "state" / "code" / found.code_digest
    assert all(found.layers[name] for name in LAYERS)
    assert 0 < found.seconds < 20


async def test_resolver_says_the_same_each_time(resolve: Resolve) -> None:
    """Hash seeds and process ids leave no trace in the graph."""
    parameters = {"date": "2026-01-02", "note": ""}
    one, two = [await resolve("shop", "Report", parameters) for _ in range(2)]
    assert one.graph.to_json() == two.graph.to_json()


async def test_resolver_walks_a_deep_diamond_once(resolve: Resolve) -> None:
    """25 levels, 33 million paths, 51 tasks."""
    found = await resolve("diamond", "Level", {"level": "25"})
    assert len(found.graph.nodes) == 51


async def test_resolver_bounds_the_number_of_tasks(resolve: Resolve) -> None:
    """The author is told the bound, and which setting moves it."""
    error = await refused(resolve("wide", "Wide", {"n": "5001"}))
    assert error.detail == "too_many_tasks"
    assert "more than 5000 tasks" in error.public_message
    assert "sandbox.max_nodes" in error.public_message


async def test_resolver_names_an_unknown_parameter(resolve: Resolve) -> None:
    """With the nearest one, and without any value."""
    error = await refused(resolve("shop", "Report", {"dta": "2026-01-02"}))
    assert error.detail == "parameter_unknown"
    assert "Report has no parameter dta; did you mean date?" in error.public_message


async def test_resolver_repeats_no_value_that_is_not_shown(resolve: Resolve) -> None:
    """Neither in the message nor for operators nor in what was printed."""
    code = """
        class Job(luigi.Task):
            password = luigi.Parameter()
            def requires(self):
                print("trying", self.password)
                raise ConnectionError(f"cannot log in with {self.password!r}")
    """
    error = await refused(resolve(code=code, parameters={"password": "hun\tter2"}))
    told = str(error) + error.public_message + error.diagnostics
    assert "cannot log in with '(hidden)' (pipe.py:7 in requires)" in error.public_message
    assert "hun" not in told
    quiet = code.replace("raise ConnectionError", "str")
    found = await resolve(code=quiet, parameters={"password": "hun\tter2"})
    assert found.output == "trying (hidden)\n"


async def test_resolver_private_values_survive_to_the_task(resolve: Resolve) -> None:
    """A value that only the parent knows is sealed with the child, and can be run with."""
    found = await resolve(
        code="""
        from luigi.parameter import ParameterVisibility
        class Job(luigi.WrapperTask):
            def requires(self):
                return Inner(token="only here")
        class Inner(luigi.Task):
            token = luigi.Parameter(default="", visibility=ParameterVisibility.PRIVATE)
        """
    )
    (inner,) = found.graph.nodes[found.graph.root].deps
    assert found.graph.clear_parameters(inner) == {"token": "only here"}


async def test_resolver_refuses_a_forged_task_id(resolve: Resolve) -> None:
    """Two tasks that Luigi would take for one, whatever way the id was made."""
    error = await refused(
        resolve(
            code="""
            class Job(luigi.WrapperTask):
                def requires(self):
                    yield Inner(n=1)
                    second = Inner(n=2)
                    second.task_id = Inner(n=1).task_id
                    yield second
            class Inner(luigi.Task):
                n = luigi.IntParameter()
            """
        )
    )
    assert error.detail == "luigi_id_collision"


async def test_resolver_uses_the_bytes_it_read(resolve: Resolve, tmp_path: Path) -> None:
    """The code that is imported is the kept copy; a later edit gives another digest."""
    code = "class Job(luigi.Task):\n    n = luigi.IntParameter(default=1)\n"
    one = await resolve(code=code)
    two = await resolve(code=code.replace("1", "2"))
    assert one.code_digest != two.code_digest
    assert {node.parameters["n"] for node in one.graph.nodes.values()} == {"1"}
    shutil.rmtree(tmp_path / "source")
    assert (one.code_path / "pipe.py").exists()


async def test_resolver_notices_a_changed_copy(resolve: Resolve) -> None:
    """Somebody wrote into the code store: nothing is imported."""
    code = "class Job(luigi.Task):\n    pass\n"
    found = await resolve(code=code)
    (found.code_path / "pipe.py").chmod(0o644)
    (found.code_path / "pipe.py").write_text("import os")
    with pytest.raises(IntegrityViolation):
        await resolve(code=code)


async def test_resolver_runs_a_few_at_a_time(tmp_path: Path) -> None:
    """Five at once end well, two sandboxes at the most."""
    resolver = SandboxResolver(SETTINGS, tmp_path / "code", KEY)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    most = 0

    async def one(level: int) -> None:
        found = await resolver.resolve(
            source=PIPELINES / "diamond",
            module="diamond",
            family="Level",
            parameters={"level": str(level)},
            shown=(),
            emits={},
        )
        assert len(found.graph.nodes) == 2 * level + 1

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, len((await asyncio.to_thread(children.read_text)).split()))
            await asyncio.sleep(0.01)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(one(level) for level in range(1, 6)))
    watching.cancel()
    assert 1 <= most <= 2


async def test_resolver_demands_the_required_layers(tmp_path: Path) -> None:
    """A layer that no machine has ends it before any code runs."""
    resolver = SandboxResolver(
        SETTINGS, tmp_path / "code", KEY, {"network_namespace", "pid_namespace"}
    )
    found = await resolver.resolve(
        source=PIPELINES / "diamond",
        module="diamond",
        family="Level",
        parameters={"level": "1"},
        shown=(),
        emits={},
    )
    assert found.layers["pid_namespace"]


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
