"""Services of a real API server, resolved to pods and their own port, or refused with a way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, Object
from bed.oracle import PolicyOracle
from binder_bed import RECEIPT, Bench, Door, bench

from gateway.cluster.client import ClusterAway
from gateway.errors import Unprocessable
from gateway.network.binder import BindOrder
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.profiles import profile

Port = dict[str, Any]


@pytest.fixture
async def bed(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A binder in a namespace of this test, which holds the Services too."""
    async with bench(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path) as found:
        yield found


def serve(bed: Bench, *ports: Port, **spec: Any) -> None:
    """Create the Service ``web`` for pods with ``app: web``; ``None`` leaves a field out."""
    whole = {"selector": {"app": "web"}, "ports": list(ports), **spec}
    body: Object = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    body["spec"] = {key: value for key, value in whole.items() if value is not None}
    bed.api.create(f"/api/v1/namespaces/{bed.namespace}/services", body)


def endpoints(bed: Bench, name: str, *ports: Port, of: str = "web") -> None:
    """Create an EndpointSlice, as the controller for Services does from pods."""
    group = "/apis/discovery.k8s.io/v1"
    labels = {"kubernetes.io/service-name": of}
    body: Object = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.9.8.7"]}] if ports else [],
        "ports": list(ports),
    }
    bed.api.create(f"{group}/namespaces/{bed.namespace}/endpointslices", body)


def entry(bed: Bench, *ports: Any, protocol: str = "http") -> dict[str, Any]:
    """Return what a catalogue says of the Service ``web``."""
    host = f"{bed.namespace}/web"
    return {"kind": "service", "host": host, "ports": list(ports or [80]), "protocol": protocol}


async def resolve(bed: Bench, found: dict[str, Any]) -> Any:
    """Return what the Service is resolved to."""
    entries = await bed.binder.catalogue({"web": found, "other": {"kind": "fqdn"}}, ["web"])
    assert entries["other"] == {"kind": "fqdn"}
    return entries["web"]["service"]


async def refusal(bed: Bench, found: dict[str, Any]) -> Unprocessable:
    """Return why the Service cannot be resolved."""
    with pytest.raises(Unprocessable) as error:
        await bed.binder.catalogue({"web": found}, ["web"])
    assert (error.value.code, error.value.step) == ("service_unresolvable", "decide")
    assert error.value.public_message.startswith("destination web: ")
    return error.value


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort", "LoadBalancer"])
async def test_service_is_its_pods_and_their_port(bed: Bench, kind: str) -> None:
    """Of each type that has pods, the rule names these pods and the port behind the Service's."""
    serve(bed, {"port": 80, "targetPort": 8080}, type=kind)
    assert await resolve(bed, entry(bed)) == {
        "namespace": bed.namespace,
        "name": "web",
        "type": kind,
        "selector": {"app": "web"},
        "ports": [8080],
    }


async def test_service_account_is_known_by_the_catalogue(bed: Bench, oracle: PolicyOracle) -> None:
    """Where the catalogue says it, pods of another account are out of reach, whatever they wear."""
    serve(bed, {"port": 80, "targetPort": 8080})
    said = entry(bed) | {"service_account": "loader"}
    entries = await bed.binder.catalogue({"web": said}, ["web"])
    assert entries["web"]["service"]["service_account"] == "loader"
    found = profile(["web"], entries, bed.binder.site)
    await bed.binder.bind(BindOrder("launch-1", "ada", (found,), RECEIPT))
    (name,) = bed.policies()
    made = bed.api.get(f"{bed.path}/{name}")
    (peer,) = made["spec"]["egress"][-1]["toEndpoints"]
    assert peer["matchLabels"]["k8s:io.cilium.k8s.policy.serviceaccount"] == "loader"
    assert oracle.ask(made).ok


async def test_service_becomes_a_policy(bed: Bench, oracle: PolicyOracle) -> None:
    """What was resolved is bound: pods by namespace and label, and the pods' own port."""
    serve(bed, {"port": 80, "targetPort": 8080})
    entries = await bed.binder.catalogue({"web": entry(bed)}, ["web"])
    found = profile(["web"], entries, bed.binder.site)
    await bed.binder.bind(BindOrder("launch-1", "ada", (found,), RECEIPT))
    (name,) = bed.policies()
    made = bed.api.get(f"{bed.path}/{name}")
    rule = made["spec"]["egress"][-1]
    labels = {"k8s:io.kubernetes.pod.namespace": bed.namespace, "k8s:app": "web"}
    assert rule["toEndpoints"] == [{"matchLabels": labels}]
    assert rule["toPorts"][0]["ports"] == [{"port": "8080", "protocol": "TCP"}]
    assert oracle.ask(made).ok


@pytest.mark.parametrize(
    "change",
    [
        {"selector": {"app": "elsewhere"}},
        {"ports": [{"port": 80, "targetPort": 9090, "protocol": "TCP"}]},
    ],
)
async def test_changed_service_is_another_profile(bed: Bench, change: Object) -> None:
    """What was planned is not what would be bound: the names differ, so that the launch stops."""
    serve(bed, {"port": 80, "targetPort": 8080})
    before = await bed.binder.catalogue({"web": entry(bed)}, ["web"])
    path = f"/api/v1/namespaces/{bed.namespace}/services/web"
    bed.api.merge(path, {"metadata": {"labels": {"new": "label"}}})
    same = await bed.binder.catalogue({"web": entry(bed)}, ["web"])
    bed.api.merge(path, {"spec": change})
    after = await bed.binder.catalogue({"web": before["web"]}, ["web"])
    site = bed.binder.site
    planned = profile(["web"], before, site).name
    assert profile(["web"], same, site).name == planned
    assert profile(["web"], after, site).name != planned


async def test_service_with_several_ports(bed: Bench) -> None:
    """Only the ports that the catalogue names are resolved, ranges port by port."""
    serve(
        bed,
        {"name": "a", "port": 80, "targetPort": 8080},
        {"name": "b", "port": 81, "targetPort": 8080},
        {"name": "c", "port": 82},
        {"name": "d", "port": 90, "targetPort": 9},
    )
    wanted = entry(bed, {"port": 80, "endPort": 82})
    assert (await resolve(bed, wanted))["ports"] == [82, 8080]
    assert (await resolve(bed, entry(bed, 90)))["ports"] == [9]


async def test_named_target_is_looked_up_in_endpoints(bed: Bench) -> None:
    """Pods give a number to a named port; their endpoints tell it, and have to agree."""
    serve(bed, {"name": "http", "port": 80, "targetPort": "web"})
    endpoints(bed, "empty")
    endpoints(bed, "one", {"name": "http", "port": 8080, "protocol": "TCP"})
    endpoints(bed, "two", {"name": "http", "port": 8080, "protocol": "TCP"})
    endpoints(bed, "of-another", {"name": "http", "port": 1, "protocol": "TCP"}, of="another")
    assert (await resolve(bed, entry(bed)))["ports"] == [8080]
    endpoints(bed, "three", {"name": "http", "port": 9090, "protocol": "TCP"})
    error = await refusal(bed, entry(bed))
    assert "several (8080, 9090)" in error.public_message
    assert "give its targetPort a number" in error.public_message


async def test_named_target_without_endpoints_is_refused(bed: Bench) -> None:
    """With no pod running, nobody knows the number."""
    serve(bed, {"port": 80, "targetPort": "web"})
    error = await refusal(bed, entry(bed))
    assert error.field == "web.ports"
    assert "endpoints give none" in error.public_message


async def test_unnamed_port_with_a_named_target(bed: Bench) -> None:
    """A Service's only port needs no name, and its endpoints' port has none either."""
    serve(bed, {"port": 80, "targetPort": "web"})
    endpoints(bed, "one", {"name": "", "port": 8080, "protocol": "TCP"})
    assert (await resolve(bed, entry(bed)))["ports"] == [8080]


async def test_missing_service(bed: Bench) -> None:
    """A Service that is not there is named, and where to correct it."""
    error = await refusal(bed, entry(bed))
    assert error.field == "web.host"
    assert f"{bed.namespace}/web, which is not there" in error.public_message


async def test_external_name(bed: Bench) -> None:
    """A name in disguise has to be approved as a name."""
    serve(bed, type="ExternalName", externalName="evil.example.com", selector=None)
    error = await refusal(bed, entry(bed))
    assert "catalogue evil.example.com as kind fqdn" in error.public_message


async def test_service_without_selector(bed: Bench) -> None:
    """Endpoints that somebody wrote by hand could be anywhere."""
    serve(bed, {"port": 80}, selector=None)
    endpoints(bed, "by-hand", {"name": "", "port": 80, "protocol": "TCP"})
    error = await refusal(bed, entry(bed))
    assert "without a selector" in error.public_message


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"ports": (81,)}, "has 81, which is no TCP port"),
        ({"ports": (80,), "protocol": "udp"}, "has 80, which is no UDP port"),
        ({"ports": ({"port": 80, "endPort": 90},)}, "has 81, which is no TCP port"),
        ({"ports": (53,), "protocol": "tcp"}, "it has 80"),
    ],
)
async def test_port_that_the_service_lacks(bed: Bench, wanted: Any, said: str) -> None:
    """Port and protocol have to be the Service's; what it has is told."""
    serve(bed, {"name": "w", "port": 80}, {"name": "d", "port": 53, "protocol": "UDP"})
    found = entry(bed, *wanted["ports"], protocol=wanted.get("protocol", "http"))
    error = await refusal(bed, found)
    assert error.field == "web.ports"
    assert said in error.public_message


async def test_udp_service(bed: Bench) -> None:
    """The same port number for two protocols is two ports."""
    serve(
        bed,
        {"name": "t", "port": 80, "targetPort": 1},
        {"name": "u", "port": 80, "targetPort": 2, "protocol": "UDP"},
    )
    assert (await resolve(bed, entry(bed, protocol="udp")))["ports"] == [2]
    assert (await resolve(bed, entry(bed)))["ports"] == [1]


async def test_headless_service(bed: Bench) -> None:
    """Nobody translates a headless Service's port, so it has to be the pods' own."""
    serve(
        bed,
        {"name": "same", "port": 80},
        {"name": "other", "port": 81, "targetPort": 8080},
        clusterIP="None",
    )
    assert (await resolve(bed, entry(bed)))["ports"] == [80]
    error = await refusal(bed, entry(bed, 81))
    assert "headless" in error.public_message


async def test_selector_that_matches_no_identity(bed: Bench) -> None:
    """A label that Cilium leaves out of identities would make a rule that allows nothing."""
    serve(bed, {"port": 80}, selector={"pod-template-hash": "abc"})
    error = await refusal(bed, entry(bed))
    assert "pod-template-hash" in error.public_message


async def test_only_what_was_asked_for_is_looked_up(bed: Bench) -> None:
    """A catalogue with a broken Service does not stop launches that do not use it."""
    requests = bed.client.requests
    entries = {"web": entry(bed)}
    assert await bed.binder.catalogue(entries, []) == entries
    assert await bed.binder.catalogue(entries, ["nobody"]) == entries
    assert bed.client.requests == requests


async def test_an_api_server_that_is_away_is_waited_for(bed: Bench, tmp_path: Path) -> None:
    """A plan is not lost because nobody could say what a Service is for a moment."""
    serve(bed, {"port": 80, "targetPort": 8080})
    async with Door(bed.api.server) as door:
        client = await type(bed.client).open(door.kubeconfig(bed.kubeconfig, tmp_path))
        settings = bed.settings.model_copy(update={"patience_seconds": 20})
        patient = CiliumBinder(client, bed.database, settings)
        hasty = CiliumBinder(client, bed.database, bed.settings)
        try:
            await door.shut()
            with pytest.raises(ClusterAway) as error:
                await hasty.catalogue({"web": entry(bed)}, ["web"])
            assert error.value.step == "decide"
            looking = asyncio.create_task(patient.catalogue({"web": entry(bed)}, ["web"]))
            await asyncio.sleep(0.3)
            assert not looking.done()
            await door.open()
            assert (await asyncio.wait_for(looking, 10))["web"]["service"]
        finally:
            await client.close()
