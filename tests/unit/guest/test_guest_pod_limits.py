"""A resolving pod is bounded as the resolver's own sandbox is, and says the same when it is not."""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from guest_pod import PodBench, Said

from gateway.cluster.message import parse_graph
from gateway.cluster.sealing import opened_report
from gateway.graph.failures import Secrets, Unresolvable, from_guest
from gateway.graph.resolver import SandboxResolver
from gateway.settings import SandboxSettings

KEY = b"k" * 32
TASK = """
import luigi
class Job(luigi.Task):
    pass
"""
SHOWN = """
import resource
for which in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
    print(*resource.getrlimit(which))
"""
TOO_MUCH = {
    "a loop": "while True: pass",
    "a loop that hears no signal": "sum(range(1 << 60))",
    "one that catches all": """
import signal
signal.signal(signal.SIGXCPU, lambda *_: None)
while True:
    try:
        while True: pass
    except BaseException:
        pass
""",
    "a large file": """
import tempfile
with tempfile.TemporaryFile(buffering=0) as stream:
    for _ in range(3):
        stream.write(bytes(1 << 20))
""",
}

Bench = Callable[[str], PodBench]
_LIMITS = re.compile(r"^-?\d+ -?\d+$", re.MULTILINE)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Pack a pipeline of this code."""

    def made(code: str) -> PodBench:
        source = tmp_path / "source"
        source.mkdir()
        (source / "job.py").write_text(TASK + code)
        return PodBench(tmp_path, source)

    return made


def ask(pods: PodBench, **limits: Any) -> Said:
    """Ask a pod for the graph of the only task."""
    return pods.say(pods.order("resolve", "job", family="Job", parameters={}, **limits))


def reason(said: Said) -> Unresolvable:
    """Return the error that the gateway makes of what a pod said."""
    told = parse_graph(said.message, said.log, 1 << 20)
    return from_guest(told.answer.get("error"), Secrets(()))


@pytest.mark.parametrize("what", TOO_MUCH)
async def test_pod_says_of_a_limit_what_the_sandbox_says(
    bench: Bench, tmp_path: Path, what: str
) -> None:
    """Whoever launches is told the same sentence, wherever the graph was asked for."""
    pods = bench(TOO_MUCH[what])
    settings = SandboxSettings(resolve_cpu_seconds=1, max_file_mb=2)
    resolver = SandboxResolver(settings, tmp_path / "store", KEY)
    with pytest.raises(Unresolvable) as here:
        await resolver.resolve(
            source=tmp_path / "source",
            module="job",
            family="Job",
            parameters={},
            shown=(),
            emits={},
        )
    said = ask(pods, cpu_seconds=1, file_mb=2)
    there = reason(said)
    assert (there.detail, there.public_message) == (here.value.detail, here.value.public_message)
    assert there.detail == ("import_failed" if what == "a large file" else "resolve_cpu")
    assert said.code == 1


def test_pod_seals_what_it_says_of_a_limit(bench: Bench) -> None:
    """The process that speaks for the one that was killed knows the key too."""
    said = ask(bench("while True: pass"), cpu_seconds=1, seal=KEY.hex())
    assert said.message.startswith("s:")
    told = parse_graph(opened_report(said.message, KEY), said.log, 1 << 20, KEY)
    assert told.answer["error"]["code"] == "resolve_cpu"


def test_pod_limits_what_it_resolves_alone(bench: Bench) -> None:
    """CPU time and size of a file, for good; a run has what its pod has."""
    pods = bench(SHOWN)
    resolved = _LIMITS.findall(ask(pods, cpu_seconds=7, file_mb=3).text)
    node = {"module": "job", "family": "Job", "parameters": {}, "task_id": "Job__99914b932b"}
    order = pods.order("run", "job", node={**node, "deps": []}, known=[], families=[])
    ran = _LIMITS.findall(pods.say(order).text)
    assert resolved[:2] == ["7 7", f"{3 << 20} {3 << 20}"]
    ours = [
        "{} {}".format(*resource.getrlimit(which))
        for which in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC)
    ]
    assert ran == ours
    assert resolved[2] == ours[2]  # processes are counted per user of the node, and are not ours


def test_pod_keeps_a_lower_limit(bench: Bench) -> None:
    """What an installation's own image or runtime bounds more tightly stays so."""
    pods = bench(SHOWN)
    order = pods.order("resolve", "job", family="Job", parameters={}, cpu_seconds=7, file_mb=3)
    said = pods.say(order, around=["prlimit", "--cpu=5", "--fsize=2097152"])
    assert said.text.split("\n")[:2] == ["5 5", "2097152 2097152"]


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os; os._exit(7)", 7),
        ("import os; os._exit(0)", 0),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + signal.SIGKILL),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", 128 + signal.SIGXCPU),
        ("import ctypes; ctypes.string_at(0)", 128 + signal.SIGSEGV),
    ],
)
def test_pod_ends_as_its_pipeline_ended(bench: Bench, code: str, status: int) -> None:
    """No limit is blamed for what was none: kubelet and gateway see the end, and no report."""
    said = ask(bench(code))
    assert (said.code, said.message) == (status, "")


@pytest.mark.parametrize("limit", ["cpu_seconds", "file_mb"])
def test_pod_resolves_nothing_without_its_limits(bench: Bench, limit: str) -> None:
    """An order that lacks one is not an order without limits."""
    pods = bench("print('imported')")
    order = pods.order("resolve", "job", family="Job", parameters={})
    del order[limit]
    said = pods.say(order)
    assert limit in reason(said).public_message
    assert "imported" not in said.text
