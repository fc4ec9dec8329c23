"""Resolves a Service of the cluster to the pods behind it and the port on which they listen.

Done when planning, and frozen with the plan: a Service that changes afterwards gives another
profile, so that binding notices. The service account of the pods is the catalogue's word, where it
says one: the gateway may not read other people's pods, and neither Services nor endpoints tell it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from gateway.canonical import Json
from gateway.cluster.client import ClusterClient, ClusterRefused, Object
from gateway.cluster.patience import Patience, refused
from gateway.errors import Unprocessable
from gateway.network.destinations import parse_destination
from gateway.network.peers import Unresolved
from gateway.network.ports import Ports
from gateway.network.reading import Fault, at
from gateway.network.services import parse_service, split_service

_HEADLESS = "None"


async def resolved(
    client: ClusterClient, name: str, entry: Mapping[str, Json], patience: Patience
) -> Mapping[str, Json]:
    """Return a catalogue entry with what its Service is now, as ``service``.

    An entry of another kind comes back as it is. Raises ``Unprocessable``
    (``service_unresolvable``) that names destination, field and the way out; ``Misconfigured`` when
    the cluster forbids to look, ``ClusterAway``.
    """
    plain = {key: value for key, value in entry.items() if key != "service"}
    destination = parse_destination(name, plain)
    if not isinstance(destination.peer, Unresolved):
        return entry
    host = destination.peer.service
    try:
        found = await _service(client, host, patience)
        pairs = _pairs(found, host, destination.ports, destination.protocol)
        words = {item["name"] for item in pairs if isinstance(item["target"], str)}
        numbers = (
            await _numbers(client, host, words, destination.protocol, patience) if words else {}
        )
        backends = {numbers.get(item["name"], item["target"]) for item in pairs}
        service = {
            "namespace": found["metadata"]["namespace"],
            "name": found["metadata"]["name"],
            "type": found["spec"].get("type", "ClusterIP"),
            "selector": found["spec"].get("selector") or {},
            "ports": sorted(backends),
        }
        if account := entry.get("service_account"):
            service["service_account"] = account
        with at("host"):
            parse_service(service, host)
    except Fault as fault:
        raise Unprocessable(
            "service_unresolvable",
            f"destination {name}: {fault.field} {fault.reason}",
            step="decide",
            field=f"{name}.{fault.field}",
        ) from fault
    return {**plain, "service": service}


async def _service(client: ClusterClient, host: str, patience: Patience) -> Object:
    """Return a Service whose pods and ports can be known. Raises ``Fault``."""
    namespace, name = split_service(host)
    path = f"/api/v1/namespaces/{namespace}/services/{name}"
    with at("host"):
        try:
            found = await patience.call(partial(client.get, path))
        except ClusterRefused as error:
            if error.missing:
                raise Fault(f"is Service {host}, which is not there; create it, or correct the "
                            "catalogue") from error  # fmt: skip
            raise refused(f"to show the Service {host}", error, "decide") from error
        spec = found["spec"]
        if spec.get("type") == "ExternalName":
            raise Fault(
                f"is Service {host} of type ExternalName, a name in disguise; "
                f"catalogue {spec.get('externalName')} as kind fqdn"
            )
        if not spec.get("selector"):
            raise Fault(
                f"is Service {host} without a selector, so its endpoints are whatever somebody "
                "wrote; give it a selector, or catalogue the addresses as kind cidr"
            )
    return found


def _pairs(
    found: Object, host: str, wanted: Iterable[Ports], transport: str
) -> list[dict[str, Any]]:
    """Return name and target of each port of the Service that is wanted. Raises ``Fault``."""
    there = {
        item["port"]: item
        for item in found["spec"].get("ports") or ()
        if item.get("protocol", "TCP") == transport
    }
    headless = found["spec"].get("clusterIP") == _HEADLESS
    pairs = []
    for port in (port for range_ in wanted for port in range(range_.first, range_.last + 1)):
        with at("ports"):
            if port not in there:
                offered = ", ".join(map(str, sorted(there))) or "none"
                raise Fault(
                    f"has {port}, which is no {transport} port of Service {host}; it has {offered}"
                )
            target = there[port].get("targetPort", port)
            if headless and target != port:
                raise Fault(
                    f"has {port}, which Service {host} says is {target} of its pods, but the "
                    "Service is headless and nobody translates; make the two equal"
                )
        pairs.append({"name": there[port].get("name", ""), "target": target})
    return pairs


async def _numbers(
    client: ClusterClient,
    host: str,
    words: Collection[str],
    transport: str,
    patience: Patience,
) -> dict[str, int]:
    """Return the pods' port for each of a Service's named ports whose target is a word.

    Only the pods know that number, and the EndpointSlices repeat it. All slices have to agree: a
    rule that allowed several numbers would allow each of them on every pod. Raises ``Fault``.
    """
    namespace, name = split_service(host)
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    label = f"kubernetes.io/service-name={name}"
    try:
        found = await patience.call(partial(client.get, path, labelSelector=label))
    except ClusterRefused as error:
        raise refused(f"to list the endpoints of Service {host}", error, "decide") from error
    numbers: dict[str, set[int]] = {word: set() for word in words}
    for item in found["items"]:
        for port in item.get("ports") or ():
            said = port.get("name") or ""
            if said in numbers and port.get("protocol", "TCP") == transport and port.get("port"):
                numbers[said].add(port["port"])
    for word, ports in sorted(numbers.items()):
        if len(ports) != 1:
            what = f"several ({', '.join(map(str, sorted(ports)))})" if ports else "none"
            with at("ports"):
                raise Fault(
                    f"has the named target of port {word!r} of Service {host}, of which its "
                    f"endpoints give {what}; give its targetPort a number"
                )
    return {word: ports.pop() for word, ports in numbers.items()}
