"""A pod has the named secrets and volumes that security granted its pipeline, and no others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, Object
from bed.installation import TASKS, Installation
from bed.objects import collection
from catalogue_bed import Catalogue, Document, ask
from cut_bed import HELD, alive, cleared, settings
from gateway_bed import ROOT, Served, serve
from real_pods_bed import Volume, volume

from gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("fake_nodes")
SECRETS = collection(TASKS, "secrets")
VALUE = "the-partners-own-password"
OURS = {"HOME", "SLUICE_TASK"}


@pytest.fixture
def claims(api: Api, guarded: Installation, tmp_path: Path) -> Iterator[dict[str, Volume]]:  # noqa: ARG001 -- it makes the namespace
    """Two volumes that an operator has put in the tasks' namespace."""
    with (
        volume(api, tmp_path / "history") as history,
        volume(api, tmp_path / "ledger") as ledger,
    ):
        yield {"history": history, "ledger": ledger}


@pytest.fixture
def secrets(guarded: Installation) -> Iterator[None]:
    """Two Secrets beside them."""
    for name in ("partner", "bank"):
        body: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        guarded.admin.create(SECRETS, {**body, "stringData": {"token": VALUE, "other": VALUE}})
    yield
    for name in ("partner", "bank"):
        guarded.admin.delete(f"{SECRETS}/{name}")


@pytest.fixture
def chosen(
    guarded: Installation,
    claims: dict[str, Volume],
    secrets: None,  # noqa: ARG001 -- they are in the cluster
    tmp_path: Path,
) -> Iterator[Settings]:
    """Settings of a gateway whose catalogue grants some of that to ``export`` and ``book``."""
    folder = tmp_path / "gateway"
    folder.mkdir()
    made = settings(guarded, folder)
    policy = made.policy.model_copy(update={"reload_seconds": 0.2})
    catalogue = Catalogue(policy.directory)
    export = {"secrets": ["partner-token"], "volumes": ["history"]}
    book = {"secrets": ["bank-token"], "volumes": ["ledger"]}
    for name, pod in (("export", export), ("book", book), ("plain", {})):
        catalogue.enter(name, "Act", pod=pod)
    catalogue.change("pods", lambda document: document.update(_allowances(claims)))
    with cleared(guarded.admin):
        yield made.model_copy(update={"policy": policy})


@pytest.fixture
async def site(chosen: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    """A gateway with that catalogue."""
    monkeypatch.chdir(ROOT)
    async with serve(chosen) as served:
        yield served


def _allowances(claims: dict[str, Volume]) -> Document:
    past = {"claim": claims["history"].claim, "mount": "/data/history", "classes": ["public"]}
    sums = {"claim": claims["ledger"].claim, "mount": "/data/ledger", "classes": ["personal"]}
    return {
        "secrets": {
            "partner-token": _secret("partner", "PARTNER_TOKEN", "export"),
            "bank-token": _secret("bank", "BANK_TOKEN", "book"),
        },
        "volumes": {
            "history": {**past, "pipelines": ["export"]},
            "ledger": {**sums, "pipelines": ["book"]},
        },
    }


def _secret(secret: str, env: str, pipeline: str) -> Document:
    return {"secret": secret, "key": "token", "env": env, "pipelines": [pipeline]}


async def pod_of(served: Served, guarded: Installation, pipeline: str) -> tuple[Document, Object]:
    """Launch a pipeline whose task stays; return the launch, and its pod as the server has it."""
    view = await ask(served, pipeline, play=HELD)
    async with asyncio.timeout(60):
        while True:
            pods = await asyncio.to_thread(alive, guarded.admin, view["id"])
            if pods and pods[0]["status"].get("phase") == "Running":
                (found,) = pods
                return view, found
            await asyncio.sleep(0.1)


def given(pod: Object) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Return variables that are not ours, claims by volume, and mounts of those, of the one task.

    Anything else through which a pod could have a value or a folder of somebody's fails.
    """
    spec = pod["spec"]
    (task,) = spec["containers"]
    assert not spec.get("initContainers")
    assert not task.get("envFrom")
    assert spec["automountServiceAccountToken"] is False
    variables = {item["name"]: item for item in task["env"]}
    assert len(variables) == len(task["env"])
    assert variables.keys() >= OURS
    kinds = {item["name"]: set(item) - {"name"} for item in spec["volumes"]}
    claims = {
        item["name"]: item["persistentVolumeClaim"]
        for item in spec["volumes"]
        if "persistentVolumeClaim" in item
    }
    for name, kind in kinds.items():
        assert kind == ({"persistentVolumeClaim"} if name in claims else kind), name
        assert kind <= {"persistentVolumeClaim", "configMap", "emptyDir"}, name
    mounts = {item["name"]: item for item in task["volumeMounts"] if item["name"] in claims}
    return {name: item for name, item in variables.items() if name not in OURS}, claims, mounts


async def test_pod_has_what_its_pipeline_was_granted(
    site: Served, guarded: Installation, claims: dict[str, Volume]
) -> None:
    """One key of one Secret by reference, one claim that it cannot write to, in its own place."""
    for pipeline, secret, env, name in (
        ("export", "partner", "PARTNER_TOKEN", "history"),
        ("book", "bank", "BANK_TOKEN", "ledger"),
    ):
        view, pod = await pod_of(site, guarded, pipeline)
        variables, volumes, mounts = given(pod)
        source = {"secretKeyRef": {"name": secret, "key": "token"}}
        assert variables == {env: {"name": env, "valueFrom": source}}
        assert list(volumes.values()) == [{"claimName": claims[name].claim, "readOnly": True}]
        (mount,) = mounts.values()
        assert (mount["mountPath"], mount["readOnly"]) == (f"/data/{name}", True)
        assert not mount.get("subPath")
        assert VALUE not in str(pod)
        planned = view["plan"]["pod"]
        assert [item["secret"] for item in planned["secrets"]] == [secret]
        assert [item["claim"] for item in planned["volumes"]] == [claims[name].claim]


async def test_pod_of_a_pipeline_that_asked_for_nothing(
    site: Served, guarded: Installation
) -> None:
    """What others are granted in the same catalogue is not in its pod."""
    _, pod = await pod_of(site, guarded, "plain")
    assert given(pod) == ({}, {}, {})


@pytest.mark.parametrize(
    ("ask_for", "said"),
    [
        ({"secrets": ["bank-token"]}, "secret bank-token is not for plain"),
        ({"volumes": ["ledger"]}, "volume ledger is not for plain"),
    ],
)
async def test_asking_for_anothers_is_refused(
    site: Served, chosen: Settings, guarded: Installation, ask_for: Document, said: str
) -> None:
    """Such a revision never comes into force: the pods stay as the former one has them."""
    catalogue = Catalogue(chosen.policy.directory)
    catalogue.change("pipelines", lambda document: document["plain"].update(pod=ask_for))
    async with asyncio.timeout(30):
        while True:
            text = (await site.gateway.readiness.report())["checks"]["policy"]
            if text != "ok":
                break
            await asyncio.sleep(0.1)
    assert said in text
    _, pod = await pod_of(site, guarded, "plain")
    assert given(pod) == ({}, {}, {})
