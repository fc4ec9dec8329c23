"""Step 3: ask Luigi for the graph, in a sandbox here, or in a pod of the image that holds the code.

A pod is never made without an entry that explains it, so that one is written first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.decisionlog.log import Entry
from gateway.errors import Unprocessable
from gateway.graph.resolver import Resolution, SandboxResolver
from gateway.lifecycle.parts import Parts
from gateway.model import LaunchRequest
from gateway.policy.decide import LoadedPolicy


async def resolve(
    parts: Parts, policy: LoadedPolicy, launch_id: str, request: LaunchRequest
) -> Resolution:
    """Return the graph of a catalogued pipeline, wherever its code lives.

    Raises ``Rejected`` when it has none, ``Retryable`` when it cannot be asked now.
    """
    settings = parts.settings
    pipeline = policy.snapshot.data.pipelines[request.pipeline]
    in_pod = pipeline.in_image or settings.cluster.resolve_in_pods
    if parts.pod_resolver is None or not in_pod:
        return await resolve_here(parts.resolver, policy, request, settings.pipelines_dir)
    body = {"pipeline": pipeline.name, "image": pipeline.image or settings.cluster.image}
    receipt = await parts.log.append(Entry("launch.resolving", body, launch_id=launch_id))
    in_image = pipeline.in_image
    return await parts.pod_resolver.resolve(
        launch_id=launch_id,
        receipt=receipt,
        image=pipeline.image or "",
        source=Path(pipeline.source) if in_image else settings.pipelines_dir / pipeline.source,
        in_image=in_image,
        **_question(policy, request),
    )


async def resolve_here(
    resolver: SandboxResolver, policy: LoadedPolicy, request: LaunchRequest, folder: Path
) -> Resolution:
    """Return the graph of a pipeline whose code lies below ``folder``. Raises as ``resolve``."""
    pipeline = policy.snapshot.data.pipelines[request.pipeline]
    if pipeline.in_image:
        raise Unprocessable(
            "no_cluster",
            f"{pipeline.name} lives in an image, and only a gateway with a cluster can ask it",
            step="resolve",
        )
    return await resolver.resolve(source=folder / pipeline.source, **_question(policy, request))


def _question(policy: LoadedPolicy, request: LaunchRequest) -> dict[str, Any]:
    data = policy.snapshot.data
    pipeline = data.pipelines[request.pipeline]
    return {
        "module": pipeline.module,
        "family": pipeline.task,
        "parameters": request.parameters,
        "shown": pipeline.shown,
        "emits": {name: item.emits for name, item in data.destinations.items()},
        "base_classes": pipeline.base_classes,
    }
