"""Ask Luigi for the graph of a pipeline in a pod: of the image that it lives in, or is given to.

The same entry point, limits and reading of the answer as ``resolver``: the same tree has the same
graph and the same digests. The pod's network profile denies everything and is in force before it.
The graph comes back in the pod's log, because a pod has no way to us; it is untrusted as ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

from gateway.canonical import Json, digest
from gateway.cluster.client import ClusterRefused
from gateway.cluster.delivery import Deliveries
from gateway.cluster.ending import PodEnd
from gateway.cluster.marks import DECISION_ID, LAUNCH_ID, PLAN_DIGEST, RESOLVE, TASK, pod_name
from gateway.cluster.message import GraphMessage, MessageError, parse_graph
from gateway.cluster.patience import Patience
from gateway.cluster.pods import PodOrder
from gateway.cluster.running import LeftRunning, Pods
from gateway.errors import Retryable
from gateway.graph.build import Masking, build_graph
from gateway.graph.classes import propagate
from gateway.graph.code import materialise, read_tree
from gateway.graph.failures import Secrets, Unresolvable, from_guest
from gateway.graph.resolver import ANSWER_BYTES, AT_ONCE, FILE_MB, OUTPUT_BYTES, Resolution
from gateway.model import Receipt
from gateway.settings import SandboxSettings

_NOT_DECIDED = "undecided"  # nothing has been decided about a launch that is being resolved
_LOG_BYTES = 16_000_000
_PENDING_SECONDS = 120.0  # somebody waits for the answer, and others for their turn
_LOG_SECONDS = 30.0


class PodResolver:
    """Resolves pipelines that live in images, a few at a time."""

    def __init__(
        self,
        pods: Pods,
        deliveries: Deliveries,
        settings: SandboxSettings,
        code_store: Path,
        installation_key: bytes,
        deny_all: Callable[[Receipt], Awaitable[str]],
    ) -> None:
        """``deny_all`` returns the name of the profile that allows nothing, once it is in force."""
        self._pods = pods
        self._deliveries = deliveries
        self._settings = settings
        self._code_store = code_store
        self._installation_key = installation_key
        self._deny_all = deny_all
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._asked: set[str] = set()  # names of pods

    async def resolve(
        self,
        *,
        launch_id: str,
        image: str,
        source: Path,
        in_image: bool,
        module: str,
        family: str,
        parameters: Mapping[str, str],
        shown: Collection[str],
        emits: Mapping[str, Collection[str]],
        base_classes: Collection[str] = (),
        receipt: Receipt,
    ) -> Resolution:
        """Return the graph of the task ``family`` of ``module`` below the folder ``source``.

        ``image`` empty is the installation's own. Where the folder is the image's, the code digest
        covers the image's digest and the bytes of the folder; where it is ours, its bytes, which
        the pod is given. ``receipt`` is that of the entry which says that this pod will be.

        Raises ``Unresolvable`` when the pipeline is at fault, ``Retryable`` when the cluster is.
        """
        began = time.monotonic()
        async with self._turn:
            given = None if in_image else await asyncio.to_thread(self._given, source)
            profile = await self._deny_all(receipt)
            memory = _quantity(self._settings.resolve_memory_mb)
            shape = await self._deliveries.shape(image, given and given[0], cpu="1", memory=memory)
            order = PodOrder(
                name=pod_name(launch_id, RESOLVE, 1),
                profile=profile,
                annotations={
                    LAUNCH_ID: launch_id,
                    TASK: RESOLVE,
                    DECISION_ID: _NOT_DECIDED,
                    PLAN_DIGEST: _NOT_DECIDED,
                },
                shape=shape,
                payload={
                    "v": 1,
                    "mode": "resolve",
                    "module": module,
                    "code_digest": given and given[1],
                    "image": image if in_image else None,
                    "tree": str(source) if in_image else None,
                    "workdir": "/workspace",
                    "max_nodes": self._settings.max_nodes,
                    "max_edges": self._settings.max_edges,
                    "cpu_seconds": self._settings.resolve_cpu_seconds,
                    "file_mb": min(FILE_MB, self._settings.max_file_mb),
                    "family": family,
                    "parameters": dict(parameters),
                },
                masked=True,  # defaults that the catalogue masks are in the graph
                seconds=self._settings.resolve_seconds,
                pending_seconds=_PENDING_SECONDS,
            )
            secrets = Secrets(text for name, text in parameters.items() if name not in shown)
            said, output = await self._ask(order, secrets)
        code = given[1] if given else image_code_digest(image, said.code_digest)
        graph = await asyncio.to_thread(
            build_graph,
            said.answer,
            masking=Masking(self._installation_key, frozenset(shown)),
            code_digest=code,
            max_nodes=self._settings.max_nodes,
            max_edges=self._settings.max_edges,
        )
        nodes = propagate(graph.nodes, emits=emits, base=base_classes)
        return Resolution(
            graph=replace(graph, nodes=nodes),
            code_path=given[0] if given else source,
            code_digest=code,
            layers={"pod": True},
            seconds=time.monotonic() - began,
            output=secrets.hide(output),
        )

    def _given(self, source: Path) -> tuple[Path, str]:
        """Fix the bytes of a folder of ours: return the kept copy and its digest."""
        tree = read_tree(source)
        return materialise(tree, self._code_store), tree.digest

    async def _ask(self, order: PodOrder, secrets: Secrets) -> tuple[GraphMessage, str]:
        """Return the answer, and what the pipeline printed. Raises ``Unresolvable`` for none."""
        self._asked.add(order.name)
        try:
            end = await self._pods.run(order)
            log = await self._log_of(order.name) if end.ran and end.message else b""
        except LeftRunning as left:
            raise Retryable("stopping", "the gateway is stopping", step="resolve") from left
        finally:
            self._asked.discard(order.name)
            self._pods.discard(order.name)
        if end.failure and not end.message:
            raise self._failed(end)
        try:
            said = await asyncio.to_thread(parse_graph, end.message, log, ANSWER_BYTES, end.key)
        except MessageError as error:
            raise Unresolvable("result_invalid", str(error)) from error
        if said.code_digest is None:
            raise from_guest(said.answer.get("error"), secrets)
        return said, log[:OUTPUT_BYTES].decode(errors="replace").rpartition("-----BEGIN")[0]

    async def _log_of(self, name: str) -> bytes:
        """Return the log, which holds the graph. Raises ``Retryable`` when nobody gives it."""
        try:
            return await Patience(_LOG_SECONDS, step="resolve").call(
                lambda: self._pods.read_log(name, _LOG_BYTES)
            )
        except ClusterRefused as error:
            raise Retryable("resolver_log", error.public_message, step="resolve") from error

    def asks(self, name: str) -> bool:
        """Whether the pod of this name is being asked."""
        return name in self._asked

    def _failed(self, end: PodEnd) -> Exception:
        """Return the error of a pod that said nothing: the pipeline's fault, or the cluster's."""
        why = end.failure
        if why.startswith("it used more memory"):
            return Unresolvable("memory", "importing and building the graph took too much memory")
        if why.startswith("it ran longer than"):
            seconds = self._settings.resolve_seconds
            return Unresolvable(
                "resolve_timeout", f"importing and building the graph took over {seconds:g} s"
            )
        if why.startswith("its process ended"):
            return Unresolvable("ended_early", f"the pod said nothing: {why}")
        if why.startswith("its process was killed"):
            said = "the machine ended the resolver, perhaps for want of memory; try again"
            return Retryable("resolver_killed", said, step="resolve")
        return Retryable("resolver_pod", f"the pod gave no answer: {why}", step="resolve")


def _quantity(mebibytes: int) -> str:
    """Return memory as the API server writes it: a pod is compared with what was asked for."""
    amount, unit = mebibytes, "Mi"
    for larger in ("Gi", "Ti"):
        if amount % 1024:
            break
        amount, unit = amount // 1024, larger
    return f"{amount}{unit}"


def image_code_digest(image: str, tree: Json) -> str:
    """Return the code digest of a folder in an image, given the digest of its bytes."""
    return digest({"image": image, "tree": tree})
