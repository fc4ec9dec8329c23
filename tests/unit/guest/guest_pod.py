"""Run the packed guest as a pod would, with real Luigi, and its files in a folder of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.cluster.message import parse_graph
from gateway.cluster.packing import code_archive, guest_archive
from gateway.graph.build import Masking, build_graph
from gateway.graph.classes import propagate
from gateway.graph.code import materialise, read_tree
from gateway.model import TaskGraph
from gateway.runs.executor import Assignment

KEY = b"k" * 32
BOUNDS = {"max_nodes": 5_000, "max_edges": 50_000}
LIMITS = {"cpu_seconds": 20, "file_mb": 16}
ODD = """
import os, sys, threading, time
import luigi

print("imported")

class Plain(luigi.Task):
    name = luigi.Parameter(default="it")
    def output(self):
        return luigi.LocalTarget(f"{self.task_family}-{self.name}")

class Spy(Plain):
    def run(self):
        assert "SLUICE_TASK" not in os.environ
        assert sys.path[0] == os.path.dirname(__file__)
        with self.output().open("w") as stream:
            stream.write(os.getcwd())

class Quits(Plain):
    def run(self):
        sys.exit("enough")

class Vanishes(Plain):
    def run(self):
        os._exit(7)

class Hungry(Plain):
    def run(self):
        return "x" * (1 << 60)

class Wordy(Plain):
    def run(self):
        raise ValueError("\\n".join(os.urandom(40).hex() for _ in range(400)) + "\\nthe end")

class OneLine(Plain):
    def run(self):
        raise ValueError(os.urandom(4000).hex())

class Many(Plain):
    def output(self):
        return [luigi.LocalTarget(f"{n}-" + os.urandom(100).hex()) for n in range(64)]
    def complete(self):
        return True
    def run(self):
        pass

class Sleeper(Plain):
    def run(self):
        print("asleep", flush=True)
        time.sleep(60)

class Unclear(Plain):
    def complete(self):
        if self.name == "quits":
            sys.exit()
        raise OSError("no catalogue " + os.urandom(int(self.name)).hex())

class Noisy(Plain):
    def requires(self):
        def shout():
            while True:
                print("-----END SLUICE GRAPH-----\\nnoise", flush=True)
                print("noise", file=sys.stderr, flush=True)
                time.sleep(0.0001)
        threading.Thread(target=shout, daemon=True).start()
        print("-----BEGIN SLUICE GRAPH-----\\neA==\\n-----END SLUICE GRAPH-----", end="")
        return [Plain(name=os.urandom(30_000).hex()) for _ in range(20)]

class All(luigi.WrapperTask):
    def requires(self):
        families = Plain, Spy, Quits, Vanishes, Hungry, Wordy, OneLine, Many, Sleeper
        return [family() for family in families] + [
            Unclear(name=name) for name in ("4", "80", "quits")
        ]
"""
_DRIVER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from sluice_guest.pod import Paths, Pod
del sys.path[0]
Pod(Paths(**json.loads(sys.argv[2]))).main()
"""


@dataclass(frozen=True)
class Said:
    """What a pod left behind."""

    code: int
    message: str
    log: bytes

    @property
    def text(self) -> str:
        """The log as text."""
        return self.log.decode(errors="replace")


class PodBench:
    """One pipeline, packed for pods, and pods that run it."""

    def __init__(self, folder: Path, source: Path) -> None:
        """``source`` is the pipeline's folder; everything is kept below ``folder``."""
        self.folder = folder
        self.source = read_tree(source)
        tree = materialise(self.source, folder / "code")
        (folder / "guest.pyz").write_bytes(guest_archive())
        (folder / "code.zip").write_bytes(code_archive(tree))
        self.tree = tree
        self.workspace = folder / "workspace"
        self.workspace.mkdir()
        self.pods = 0

    def start(
        self,
        order: Mapping[str, Any] | str,
        *,
        mounted: bool = False,
        around: Sequence[str] = (),
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a pod with an order; return its process and where its message will be."""
        self.pods += 1
        own = self.folder / f"pod-{self.pods}"
        own.mkdir()
        text = order if isinstance(order, str) else json.dumps(order)
        paths = {
            "order": str(own / "task.json"),
            "code": str(self.folder / "code.zip"),
            "unpacked": str(own / "pipeline"),
            "message": str(own / "message"),
        }
        env = {"PATH": "/usr/bin:/bin", "HOME": str(own)}
        if mounted:
            (own / "task.json").write_text(text)
        elif text:
            env["SLUICE_TASK"] = text
        process = subprocess.Popen(
            [
                *around,
                sys.executable,
                *("-I", "-B", "-c", _DRIVER),
                str(self.folder / "guest.pyz"),
                json.dumps(paths),
            ],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return process, own / "message"

    def say(
        self,
        order: Mapping[str, Any] | str,
        *,
        mounted: bool = False,
        around: Sequence[str] = (),
    ) -> Said:
        """Run a pod to its end; ``around`` is a command that starts it."""
        process, message = self.start(order, mounted=mounted, around=around)
        log, _ = process.communicate(timeout=30)
        said = ""
        with suppress(FileNotFoundError):
            said = message.read_text()
        return Said(process.returncode, said, log)

    def order(self, mode: str, module: str, **more: Any) -> dict[str, Any]:
        """Return an order of this pipeline."""
        return {
            "v": 1,
            "mode": mode,
            "module": module,
            "code_digest": self.source.digest,
            "tree": None,
            "workdir": str(self.workspace),
            **BOUNDS,
            **(LIMITS if mode == "resolve" else {}),
            **more,
        }

    def resolve(self, module: str, family: str, shown: tuple[str, ...], **given: str) -> TaskGraph:
        """Return the graph of a task, as a resolving pod gives it."""
        said = self.say(self.order("resolve", module, family=family, parameters=given))
        told = parse_graph(said.message, said.log, 1 << 22)
        assert "error" not in told.answer, told.answer
        masking = Masking(KEY, shown)
        digest = told.code_digest or ""
        graph = build_graph(told.answer, masking=masking, code_digest=digest, **BOUNDS)
        nodes = propagate(graph.nodes, emits={"warehouse": {"pii"}, "bucket": ()})
        return TaskGraph(graph.root, nodes, graph.code_digest, graph.digest, graph.sealed)

    def run(
        self, graph: TaskGraph, key: str, known: list[str], families: list[str], **more: Any
    ) -> Said:
        """Run one task of a graph."""
        nodes = graph.nodes
        order = self.order(
            "run",
            nodes[key].module,
            node=node_of(graph, key),
            known=[graph.luigi_id(name) for name in known],
            families=[
                [nodes[name].module, nodes[name].family, list(nodes[name].egress)]
                for name in families
            ],
            **more,
        )
        return self.say(order, mounted=True)


def node_of(graph: TaskGraph, key: str) -> dict[str, Any]:
    """Return a task as an order has it."""
    return dict(Assignment.of(graph, key).to_json())


def key_of(graph: TaskGraph, family: str) -> str:
    """Return the key of the one task of a family."""
    (key,) = (
        key
        for key, node in graph.nodes.items()
        if node.family == family and node.kind != "possible"
    )
    return key
