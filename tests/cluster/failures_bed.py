"""What the tests of failures share: how pods are held, runs with other settings, a quota."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from bed.api import Api
from pods_bed import PodRig

from gateway.runs.events import RunEvent

HELD = "hold=running"
TWICE = 2  # failures after which Luigi disables a task, as these runs are set

Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


def once(kind: type[RunEvent], act: Callable[[], Any]) -> Callable[[RunEvent], Any]:
    """Return a hook that acts at the first event of a kind."""
    done: list[bool] = []

    async def hook(event: RunEvent) -> None:
        if isinstance(event, kind) and not done:
            done.append(True)
            await act()

    return hook


def quota(api: Api, namespace: str, *, pods: int) -> None:
    """Bound the pods of a namespace; the bed has no controller that would take the spec over."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    meta = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    api.create(path, {**meta, "spec": {"hard": {"pods": str(pods)}}})
    room(api, namespace, pods)
    time.sleep(0.3)  # the admission plug-in learns of it by a watch


def room(api: Api, namespace: str, pods: int) -> None:
    """Change the bound that ``quota`` made."""
    path = f"/api/v1/namespaces/{namespace}/resourcequotas/few"
    hard = {"pods": str(pods)}
    api.merge(path, {"spec": {"hard": hard}})
    api.merge(f"{path}/status", {"status": {"hard": hard, "used": {"pods": "0"}}})
    time.sleep(0.3)
