"""Ask Luigi for the graph of a pipeline, without giving its code anything.

1. fix the bytes: read the source tree, keep a copy under its digest
2. start the guest on that copy: no network, no secrets, no writable file of ours, bounded
3. take its answer, up to a size, within a time
4. make a graph of it, trusting nothing (``build``), and let data classes flow (``classes``)

``complete()`` and ``run()`` of the tasks are never called.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.errors import Retryable
from gateway.graph.build import Masking, build_graph
from gateway.graph.classes import propagate
from gateway.graph.code import CodeTree, materialise, read_tree
from gateway.graph.failures import Secrets, Unresolvable, from_guest
from gateway.model import TaskGraph
from gateway.sandbox.guest import CHANNEL_FD, SPEC_FD, guest_argv, guest_sandbox, guest_spec
from gateway.sandbox.pipes import CappedPipe
from gateway.sandbox.process import Exit, SandboxProcess
from gateway.sandbox.spec import Limits
from gateway.settings import SandboxSettings

AT_ONCE = 2  # resolves; others wait for their turn
ANSWER_BYTES = 64 * 1024 * 1024
OUTPUT_BYTES = 64 * 1024
FILE_MB = 16  # of one file that the pipeline writes meanwhile
_NEARLY = 0.8  # the kernel's limit and its account of CPU time come from two clocks
_PROCESSES = 32
_TMP_MB = 64


@dataclass(frozen=True, slots=True)
class Resolution:
    """A graph, the code it came from, and how the asking went."""

    graph: TaskGraph
    code_path: Path  # the kept copy; what is resolved is what runs
    code_digest: str
    layers: Mapping[str, bool]  # of the sandbox
    seconds: float
    output: str  # what the pipeline printed meanwhile, cut off


class SandboxResolver:
    """Resolves pipelines, a few at a time, each in a sandbox of its own."""

    def __init__(
        self,
        settings: SandboxSettings,
        code_store: Path,
        installation_key: bytes,
        required_layers: Collection[str] = (),
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        """``code_store`` keeps code trees by digest; ``installation_key`` masks parameters."""
        self._settings = settings
        self._code_store = code_store
        self._installation_key = installation_key
        self._required_layers = frozenset(required_layers)
        self._turn = asyncio.Semaphore(at_once)

    async def resolve(
        self,
        *,
        source: Path,
        module: str,
        family: str,
        parameters: Mapping[str, str],
        shown: Collection[str],
        emits: Mapping[str, Collection[str]],
        base_classes: Collection[str] = (),
        declassified: Mapping[str, Collection[str]] | None = None,
    ) -> Resolution:
        """Return the graph of the task ``family`` of ``module`` with ``parameters``.

        ``shown`` names the parameters that people may see; ``emits`` gives the data classes of
        each destination; ``base_classes`` and ``declassified`` are as in ``classes.propagate``.

        Raises ``Unresolvable`` when the pipeline is at fault, ``Misconfigured`` when a required
        layer is missing, ``IntegrityViolation`` when the kept code was changed, ``Retryable``
        when the machine is too slow. No error repeats a parameter that is not shown.
        """
        began = time.monotonic()
        async with self._turn:
            tree = await asyncio.to_thread(read_tree, source)
            code_path = await asyncio.to_thread(materialise, tree, self._code_store)
            spec = {"family": family, "parameters": dict(parameters)}
            secrets = Secrets(text for name, text in parameters.items() if name not in shown)
            asked = await self._ask(tree, code_path, module, spec)
            graph = await asyncio.to_thread(self._build, asked, tree, secrets, frozenset(shown))
        nodes = propagate(graph.nodes, emits=emits, base=base_classes, declassified=declassified)
        return Resolution(
            graph=replace(graph, nodes=nodes),
            code_path=code_path,
            code_digest=tree.digest,
            layers=asked.layers,
            seconds=time.monotonic() - began,
            output=secrets.hide(asked.output),
        )

    async def _ask(
        self, tree: CodeTree, code_path: Path, module: str, spec: Mapping[str, Any]
    ) -> _Answer:
        settings = self._settings
        limits = Limits(
            cpu_seconds=settings.resolve_cpu_seconds,
            memory_mb=settings.resolve_memory_mb,
            file_mb=min(FILE_MB, settings.max_file_mb),
            processes=min(_PROCESSES, settings.max_processes),
        )
        sandbox = guest_sandbox(
            code_path, None, limits, tmp_mb=_TMP_MB, required_layers=self._required_layers
        )
        bounds = {"max_nodes": settings.max_nodes, "max_edges": settings.max_edges}
        descriptor = guest_spec(module, tree.digest, **spec, **bounds)
        too_much = asyncio.Event()
        with CappedPipe(ANSWER_BYTES, too_much.set) as answer, CappedPipe(OUTPUT_BYTES) as output:
            try:
                process = await SandboxProcess.start(
                    sandbox,
                    guest_argv("resolve", sandbox),
                    fds={
                        1: output.write_end,
                        2: output.write_end,
                        CHANNEL_FD: answer.write_end,
                        SPEC_FD: descriptor,
                    },
                )
            finally:
                os.close(descriptor)
            async with process:
                answer.given_away()
                output.given_away()
                in_time = await _ended(process, too_much, settings.resolve_seconds)
            return _Answer(
                data=await answer.collect(),
                excess=answer.excess,
                output=await _text(output),
                layers=process.layers,
                exit=process.exit if in_time else None,
            )

    def _build(
        self, asked: _Answer, tree: CodeTree, secrets: Secrets, shown: frozenset[str]
    ) -> TaskGraph:
        settings = self._settings
        asked.check(settings)
        try:
            value = json.loads(asked.data)
        except (ValueError, RecursionError) as error:
            raise Unresolvable(
                "result_invalid", "the pipeline's process gave no usable answer"
            ) from error
        if not isinstance(value, dict) or "error" in value:
            raise from_guest(value["error"] if isinstance(value, dict) else None, secrets)
        return build_graph(
            value,
            masking=Masking(self._installation_key, shown),
            code_digest=tree.digest,
            max_nodes=settings.max_nodes,
            max_edges=settings.max_edges,
        )


@dataclass(frozen=True, slots=True)
class _Answer:
    """What came back; ``exit`` None: we ended it."""

    data: bytes
    excess: bool
    output: str
    layers: Mapping[str, bool]
    exit: Exit | None

    def check(self, settings: SandboxSettings) -> None:
        """Raise ``Unresolvable`` unless the process ended by itself and said something."""
        if self.excess:
            limit = ANSWER_BYTES >> 20
            raise Unresolvable("result_too_large", f"the graph takes more than {limit} MB")
        if self.exit is None:
            raise Unresolvable(
                "resolve_timeout",
                f"importing and building the graph took over {settings.resolve_seconds:g} s",
            )
        if self.exit.signal == signal.SIGKILL:
            if self.exit.cpu_seconds >= _NEARLY * settings.resolve_cpu_seconds:
                raise Unresolvable(
                    "resolve_cpu",
                    f"importing and building the graph took over {settings.resolve_cpu_seconds} s"
                    " of CPU",
                )
            raise Retryable(
                "resolver_killed",
                "the machine ended the resolver, perhaps for want of memory; try again",
                step="resolve",
            )
        if not self.data:
            raise Unresolvable(
                "ended_early",
                "the pipeline ended its process before its graph was known",
                diagnostics=f"exit {self.exit.status}",
            )


async def _text(pipe: CappedPipe) -> str:
    """Return whole lines where something was cut off: half a value could not be recognised."""
    text = (await pipe.collect()).decode(errors="replace")
    return text.rpartition("\n")[0] if pipe.excess else text


async def _ended(process: SandboxProcess, too_much: asyncio.Event, seconds: float) -> bool:
    """Return whether the process ended by itself in time, without saying too much."""
    waits = {asyncio.ensure_future(process.wait()), asyncio.ensure_future(too_much.wait())}
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return process.exit is not None
