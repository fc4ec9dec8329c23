"""Pipelines resolved by the real resolver: in its sandbox, by the real Luigi."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from graph_resolving import KEY, PIPELINES, SETTINGS, Resolve, refused

from gateway.errors import IntegrityViolation
from gateway.graph.resolver import SandboxResolver
from gateway.sandbox.spec import LAYERS


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
