"""Yields from a pod: through 4,096 bytes and back, admitted and refused as a local guest's are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from guest_bench import serving
from guest_pod import KEY, PodBench, key_of, node_of

from gateway.cluster.message import RunMessage, known_for, parse_run
from gateway.errors import Rejected
from gateway.graph.yields import AdmittedYield, admit_yield
from gateway.model import TaskGraph

PIPELINE = """
import hashlib
import luigi
from luigi.parameter import ParameterVisibility

class Named(luigi.Task):
    name = luigi.Parameter(default="it")
    def output(self):
        return luigi.LocalTarget(f"{self.task_family}-{self.name}")
    def run(self):
        with self.output().open("w"):
            pass

class Raw(luigi.ExternalTask):
    name = luigi.Parameter(default="raw")
    token = luigi.Parameter(default="t0ken", visibility=ParameterVisibility.PRIVATE)
    def output(self):
        return luigi.LocalTarget("raw")

class Clean(Named):
    egress = ("warehouse",)
    def requires(self):
        return Raw()

class Aside(Named):
    key = luigi.Parameter(default="plain")

class Crumb(Named):
    pass

class Part(Named):
    egress = ("bucket", "warehouse")
    may_yield = ((Crumb, 4),)
    priority = 7
    resources = {"bucket": 1}
    key = luigi.Parameter(default="", visibility=ParameterVisibility.HIDDEN)
    needs = luigi.Parameter(default="")
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if self.name == "wide":
            self.egress = ("bucket", "web")
    def requires(self):
        return {"": [], "aside": [Aside()], "part": [Part(name="below", key="k2")]}[self.needs]

class Split(Named):
    may_yield = ((Part, 100),)
    kind = luigi.Parameter(default="parts")
    def requires(self):
        return Clean()
    def run(self):
        yield {
            "parts": [Part(name="one", key="sesame"), Part(name="two", key="é\\U0001f600")],
            "twice": [Part(name="one"), Part(name="one")],
            "known": [Clean(), Raw()],
            "nested": [Part(name="top", needs="part"), Part(name="beside", needs="aside")],
            "stranger": [Clean(), Undeclared()],
            "widened": [Part(name="wide")],
            "crumb": [Crumb()],
            "aside": [Aside()],
            "top": [Everything()],
            "many": [Part(name=str(n)) for n in range(80)],
            "fat": [Part(name=hashlib.sha512(b"%d" % n).hexdigest()) for n in range(90)],
        }[self.kind]

class Undeclared(Named):
    def requires(self):
        return Raw()

class Everything(luigi.WrapperTask):
    def requires(self):
        kinds = "parts twice known nested stranger widened crumb aside top many fat".split()
        return [Aside(), *(Split(kind=kind) for kind in kinds)]
"""
SHOWN = ("name", "kind", "needs", "key")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> PodBench:
    """Return the pipeline in pods."""
    folder = tmp_path_factory.mktemp("yields")
    source = folder / "source"
    source.mkdir()
    (source / "parts.py").write_text(PIPELINE)
    return PodBench(folder, source)


@pytest.fixture(scope="module")
def graph(bench: PodBench) -> TaskGraph:
    """Return the graph of all of it, as a pod resolves it."""
    return bench.resolve("parts", "Everything", SHOWN)


def split_of(graph: TaskGraph, kind: str) -> str:
    """Return the key of the task that yields one kind of thing."""
    nodes = (node for node in graph.nodes.values() if node.family == "Split")
    return next(node.key for node in nodes if node.parameters["kind"] == kind)


def told(bench: PodBench, graph: TaskGraph, key: str) -> RunMessage:
    """Run a task in a pod and return what it said."""
    known, families = known_for(graph, key)
    said = bench.run(graph, key, known, families)
    assert len(said.message) <= 4096
    return parse_run(said.message, graph, known, families)


def admit(graph: TaskGraph, key: str, raw: Any, instances: frozenset[str]) -> AdmittedYield | str:
    """Return what is admitted, or why nothing is."""
    try:
        return admit_yield(graph, key, raw, instances, installation_key=KEY)
    except Rejected as error:
        return error.public_message


async def locally(bench: PodBench, graph: TaskGraph, key: str) -> dict[str, Any]:
    """Return the result of the same task in a local guest."""
    async with serving(bench.tree, "parts", bench.workspace) as warm:
        assert (await warm.hear())["event"] == "ready"
        return dict((await warm.run("a.1", node_of(graph, key))).result)


@pytest.mark.parametrize("kind", ["parts", "known", "nested"])
async def test_yields_of_pods_are_admitted_as_local_ones(
    bench: PodBench, graph: TaskGraph, kind: str
) -> None:
    """The same new nodes, the same roots, the same sealed values."""
    split = split_of(graph, kind)
    said = told(bench, graph, split)
    assert said.status == "PENDING", said.explanation
    local = await locally(bench, graph, split)
    admitted = admit(graph, split, said.yields, frozenset())
    assert not isinstance(admitted, str), admitted
    assert admitted == admit(graph, split, local["yields"], frozenset())
    nodes, roots, sealed = admitted
    assert len(roots) == 2
    if kind == "parts":
        assert {values["key"] for values in sealed.values()} == {"sesame", "é😀"}
        assert {node.priority for node in nodes} == {7}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("stranger", "Undeclared is neither in the graph nor in may_yield"),
        ("crumb", None),  # declared further down: Part may yield it, and so may who yields Parts
        ("widened", "Part has another egress than was approved"),
        ("aside", "Aside is no task that it may wait for"),
        ("top", "Everything is neither in the graph nor in may_yield"),
    ],
)
async def test_yields_of_pods_are_refused_by_the_gateway(
    bench: PodBench, graph: TaskGraph, kind: str, reason: str | None
) -> None:
    """The pod only names what it was not given; who may yield it is decided here, and logged."""
    split = split_of(graph, kind)
    said = told(bench, graph, split)
    assert said.status == "PENDING", said.explanation
    verdict = admit(graph, split, said.yields, frozenset())
    if reason is None:
        assert not isinstance(verdict, str), verdict
    else:
        assert isinstance(verdict, str)
        assert reason in verdict
        assert "may_yield" in verdict


def test_yields_of_pods_name_the_same_task_once(bench: PodBench, graph: TaskGraph) -> None:
    """A task that is yielded twice is one."""
    split = split_of(graph, "twice")
    admitted = admit(graph, split, told(bench, graph, split).yields, frozenset())
    assert not isinstance(admitted, str), admitted
    assert len(admitted[1]) == 1


def test_yields_that_were_admitted_before_are_named(bench: PodBench, graph: TaskGraph) -> None:
    """The second pod of a task, and one of its instances, know what the first one yielded."""
    split = split_of(graph, "nested")
    first = admit(graph, split, told(bench, graph, split).yields, frozenset())
    assert not isinstance(first, str), first
    nodes, roots, sealed = first
    grown = replace(
        graph,
        nodes={**graph.nodes, **{node.key: node for node in nodes}},
        sealed={**graph.sealed, **sealed},
    )
    known, families = known_for(grown, split)
    assert {node.key for node in nodes} <= set(known)
    said = bench.run(grown, split, known, families)
    assert '"p"' not in said.message
    again = parse_run(said.message, grown, known, families)
    fresh = frozenset(node.key for node in nodes)
    assert admit(grown, split, again.yields, fresh) == ([], roots, {})


def test_yields_fit_eighty_small_tasks_and_say_what_does_not(
    bench: PodBench, graph: TaskGraph
) -> None:
    """What is alike in many tasks takes little room; what is not makes the task fail in words."""
    split = split_of(graph, "many")
    admitted = admit(graph, split, told(bench, graph, split).yields, frozenset())
    assert not isinstance(admitted, str), admitted
    assert len(admitted[0]) == 80
    said = told(bench, graph, split_of(graph, "fat"))
    assert said.status == "FAILED"
    assert said.explanation.startswith("it yields 90 tasks, which take ")
    assert "a pod can report 4,096" in said.explanation


def test_known_tasks_are_those_that_may_be_named(graph: TaskGraph) -> None:
    """What it waits for, nearest first; with may_yield also what stands aside; never who waits."""
    families = {key: node.family for key, node in graph.nodes.items()}

    def names(key: str) -> tuple[list[str], list[str]]:
        known, possible = known_for(graph, key)
        return [families[key] for key in known], [families[key] for key in possible]

    known, possible = names(split_of(graph, "parts"))
    assert known[:2] == ["Clean", "Raw"]
    assert sorted(known[2:]) == ["Aside", *["Split"] * 10]
    assert possible == ["Part", "Crumb"]
    assert names(key_of(graph, "Clean")) == (["Raw"], [])
    assert names(key_of(graph, "Raw")) == ([], [])
