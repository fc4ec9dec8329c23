"""The end of a pod is asked for until it is granted, or until the gateway itself ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from bed.api import Api, ApiError, Object
from bed.objects import collection
from pods_bed import MuteDoor, PodRig, rig, when

from gateway.cluster import client as client_module
from gateway.cluster.client import ClusterAway, ClusterClient
from gateway.runs.events import RunFinished

pytestmark = pytest.mark.usefixtures("fake_nodes")
HELD = "hold=running"
NONSENSE = "nobody"
Rigs = Callable[..., AbstractAsyncContextManager[PodRig]]


@dataclass
class Account:
    """An account of the test's namespace that may do everything there, or nothing."""

    api: Api
    namespace: str

    def __post_init__(self) -> None:
        path = f"{collection(self.namespace, 'serviceaccounts')}/default/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        self.token = str(self.api.create(path, request)["status"]["token"])
        self._bindings = (
            f"/apis/rbac.authorization.k8s.io/v1/namespaces/{self.namespace}/rolebindings"
        )
        self.allow()

    def allow(self) -> None:
        """Give it all rights in the namespace."""
        group = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", "name": "default", "namespace": self.namespace}
        binding: Object = {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "all"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [subject],
        }
        self.api.create(self._bindings, binding)

    def refuse(self) -> None:
        """Take its rights away."""
        self.api.delete(f"{self._bindings}/all")


@pytest.fixture
def account(api: Api, namespace: str) -> Account:
    """An account with rights."""
    return Account(api, namespace)


@pytest.fixture
def eyes(cluster: dict[str, str]) -> Path:
    """The administrator's kubeconfig."""
    return Path(cluster["KUBECONFIG"])


@pytest.fixture
def rigs(api: Api, namespace: str, tmp_path: Path, eyes: Path) -> Rigs:
    """Make runs in a namespace of this test, logged in with a token."""
    return partial(rig, api, eyes, namespace, tmp_path / "rig")


@pytest.fixture
def rights(account: Account) -> Iterator[Account]:
    """An account whose rights are back at the end, for what the rig has to clear away."""
    yield account
    with suppress(ApiError):
        account.allow()


async def test_refused_end_is_asked_for_again(rigs: Rigs, rights: Account, tmp_path: Path) -> None:
    """Rights that were missing for a moment: the cancel waits for them, and the pod ends."""
    token = tmp_path / "token"
    token.write_text(rights.token)
    async with rigs(token=token) as runs:
        order = await runs.order(play=HELD)
        await runs.supervisor.start(order)
        await runs.pod()
        await asyncio.to_thread(rights.refuse)
        await asyncio.sleep(0.5)
        cancelling = asyncio.create_task(runs.supervisor.cancel(order.launch_id))
        await asyncio.sleep(1)
        assert not cancelling.done()
        assert len(await runs.living()) == 1
        await asyncio.to_thread(rights.allow)
        await asyncio.wait_for(cancelling, 10)
        assert await runs.listed() == []
        assert [end.status for end in runs.told(RunFinished)] == ["cancelled"]


async def test_login_that_is_refused_is_nobodys_answer(
    account: Account, eyes: Path, tmp_path: Path, namespace: str
) -> None:
    """401 is ``ClusterAway``; the token's file is read again at once, as after a rotation."""
    token = tmp_path / "token"
    token.write_text(NONSENSE)
    client = await ClusterClient.open(eyes, token)
    try:
        with pytest.raises(ClusterAway) as caught:
            await client.get(collection(namespace))
        assert caught.value.code == "cluster_login"
        token.write_text(account.token)
        assert (await client.get(collection(namespace)))["items"] == []
    finally:
        await client.close()
        await asyncio.sleep(0.25)  # a TLS connection that was cut off says goodbye


async def test_rotated_token_loses_no_end(
    rigs: Rigs, account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pod is stopped during a rotation of the token: it ends when the new one is there."""
    monkeypatch.setattr(client_module, "_TOKEN_LIVES", 0.0)
    token = tmp_path / "token"
    token.write_text(account.token)
    async with rigs(token=token) as runs:
        order = await runs.order(play=f"{HELD};")
        await runs.supervisor.start(order)
        pod = await runs.pod()
        token.write_text(NONSENSE)
        stopping = asyncio.create_task(runs.pods.stop(pod["metadata"]["name"], "it was ended"))
        await asyncio.sleep(0.5)
        assert not stopping.done()
        token.write_text(account.token)
        await asyncio.wait_for(stopping, 10)
        assert (await runs.end(order)).status == "succeeded"
        assert runs.failures == ["it was ended"]


async def test_gateway_stops_while_a_cancel_waits_for_the_server(
    api: Api, namespace: str, tmp_path: Path, eyes: Path
) -> None:
    """It waits no more; the launch has no end yet, and the pod is the next gateway's to end."""
    async with MuteDoor(api.server) as door:
        kubeconfig = door.kubeconfig(eyes, tmp_path)
        async with rig(api, kubeconfig, namespace, tmp_path / "rig", eyes=eyes) as runs:
            order = await runs.order("Scene", plays=f"{HELD}|{HELD}")
            await runs.supervisor.start(order)
            await when(lambda: runs.witness.attempts() == 2)
            await door.shut()
            cancelling = asyncio.create_task(runs.supervisor.cancel(order.launch_id))
            await asyncio.sleep(0.5)
            await asyncio.wait_for(runs.supervisor.close(), 10)
            await asyncio.wait_for(cancelling, 1)
            assert runs.told(RunFinished) == []
            await door.open()
            assert len(await runs.living()) == 2
            for pod in await runs.listed():
                await runs.gone(pod)
