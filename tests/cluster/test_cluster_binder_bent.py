"""An admission webhook that widens policies on their way: noticed, whenever it does so."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from bed.api import Api, Object
from bed.certificates import Authority
from binder_bed import Bench, bench

from gateway.errors import IntegrityViolation

GROUP = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
WIDER = [{"op": "replace", "path": "/spec/egress", "value": [{"toEntities": ["world"]}]}]


@pytest.fixture
async def bed(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A binder in a namespace of this test, on an API server that can call us."""
    if "SLUICE_CLUSTER_AUDIT_LOG" not in cluster:
        pytest.skip("the webhook listens on loopback, where only the bed's API server is")
    async with bench(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path) as found:
        yield found


class Bender:
    """A webhook that widens every policy, or only those that are meant (``dry=False``)."""

    def __init__(self, *, dry: bool) -> None:
        self._dry = dry
        self.seen: list[bool] = []  # of each policy, whether it was a dry run

    async def admit(self, request: web.Request) -> web.Response:
        """Answer an AdmissionReview."""
        review = await request.json()
        asked = review["request"]
        self.seen.append(asked["dryRun"])
        answer: dict[str, Any] = {"uid": asked["uid"], "allowed": True}
        if self._dry or not asked["dryRun"]:
            patch = base64.b64encode(json.dumps(WIDER).encode()).decode()
            answer |= {"patchType": "JSONPatch", "patch": patch}
        return web.json_response({**review, "response": answer})


@asynccontextmanager
async def bending(bed: Bench, folder: Path, *, dry: bool) -> AsyncIterator[Bender]:
    """Serve a bender, and have the API server ask it about the policies of this namespace."""
    authority = Authority(folder / "pki")
    pair = authority.server("bender", "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pair.certificate, pair.key)
    bender = Bender(dry=dry)
    application = web.Application()
    application.router.add_post("/", bender.admit)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    name = f"bed-{uuid.uuid4().hex[:12]}"
    hook = {
        "name": "bender.bed.sluice",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/",
            "caBundle": base64.b64encode(authority.certificate.read_bytes()).decode(),
        },
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": bed.namespace}},
        "rules": [
            {
                "apiGroups": ["cilium.io"],
                "apiVersions": ["*"],
                "operations": ["CREATE"],
                "resources": ["ciliumnetworkpolicies"],
            }
        ],
    }
    body: Object = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [hook],
    }
    try:
        await asyncio.to_thread(bed.api.create, GROUP, body)
        yield bender
    finally:
        await asyncio.to_thread(bed.api.delete, f"{GROUP}/{name}")
        await runner.cleanup()


async def in_use(bed: Bench, bender: Bender) -> None:
    """Return when the API server asks the webhook."""
    manifest: Object = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "probe"},
        "spec": {"endpointSelector": {}, "egress": [{}]},
    }
    while not bender.seen:
        await bed.client.create(bed.path, manifest, dry_run=True)
        await asyncio.sleep(0.1)
    bender.seen.clear()


async def test_a_policy_that_would_be_bent_is_never_made(bed: Bench, tmp_path: Path) -> None:
    """The dry run already shows what somebody would make of it: nothing is created."""
    async with bending(bed, tmp_path, dry=True) as bender:
        await in_use(bed, bender)
        with pytest.raises(IntegrityViolation) as error:
            await bed.binder.bind(bed.order("crm"))
    assert error.value.code == "policy_differs"
    assert bender.seen == [True]
    assert bed.policies() == set()


async def test_a_policy_that_was_bent_is_not_in_force(bed: Bench, tmp_path: Path) -> None:
    """Who behaves in the dry run and bends the real thing is found out when it is read back.

    The policy is wider than what was approved, but no pod wears its label: nothing was bound. The
    audit replaces it as soon as it can.
    """
    async with bending(bed, tmp_path, dry=False) as bender:
        await in_use(bed, bender)
        with pytest.raises(IntegrityViolation) as error:
            await bed.binder.bind(bed.order("crm"))
        assert error.value.code == "policy_differs"
        assert bender.seen == [True, False]
        report = await bed.binder.audit()
        assert (report.edited, report.restored) == ((bed.named("crm"),), ())
        assert "cannot restore" in report.problems[0]
    report = await bed.binder.audit()
    assert report.restored == (bed.named("crm"),)
    await bed.binder.bind(bed.order("crm"))
