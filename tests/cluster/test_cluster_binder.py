"""Binding on a real API server: what is in force when ``bind`` returns, and what it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, ApiError, Object
from bed.oracle import PolicyOracle
from binder_bed import CATALOGUE, RECEIPT, Bench, Door, bench

from gateway.cluster.client import ClusterAway
from gateway.cluster.patience import Patience
from gateway.errors import GatewayError, IntegrityViolation, Misconfigured, Retryable, TooMany
from gateway.network.binder import Binding, BindOrder
from gateway.network.cilium import policy
from gateway.network.cilium_binder import CiliumBinder
from gateway.network.profiles import profile
from gateway.network.sites import Site


@pytest.fixture
async def bed(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A binder in a namespace of this test."""
    async with bench(
        api, Path(cluster["KUBECONFIG"]), namespace, tmp_path, new_profiles_per_day=3,
        valid_seconds=5,
    ) as found:  # fmt: skip
        yield found


async def refused(bed: Bench, order: BindOrder, code: str) -> GatewayError:
    """Bind, and return the refusal, which has this code and belongs to this step."""
    with pytest.raises(GatewayError) as error:
        await bed.binder.bind(order)
    assert (error.value.code, error.value.step) == (code, "bind")
    return error.value


async def test_binds_what_was_approved(bed: Bench, oracle: PolicyOracle) -> None:
    """Each profile is a policy in the cluster, exactly as compiled; Cilium's parser takes it."""
    order = bed.order("crm", "", "crm+lake", "crm")
    bound = await bed.binder.bind(order)
    assert bound == Binding(tuple(sorted({p.name for p in order.profiles})), "cilium")
    assert bed.policies() == {f"sluice-{name}" for name in bound.profiles}
    for item in order.profiles:
        found = bed.object(*item.destinations)
        assert found["spec"] == policy(item)["spec"]
        opinion = oracle.ask(found)
        assert opinion.ok, opinion.error


async def test_bound_again_costs_one_request(bed: Bench) -> None:
    """A profile in force is looked at and left alone: same object, one list and no writes."""
    await bed.binder.bind(bed.order("crm", "lake"))
    before = bed.object("crm")["metadata"]
    requests = bed.client.requests
    await bed.binder.bind(bed.order("crm", "lake", launch="launch-2"))
    assert bed.client.requests == requests + 1
    assert bed.object("crm")["metadata"] == before


async def test_two_binds_of_one_new_profile_make_one_policy(bed: Bench) -> None:
    """Launches that need the same new profile at once neither race nor fail."""
    orders = [bed.order("crm", "lake", launch=f"launch-{n}") for n in range(8)]
    await asyncio.gather(*map(bed.binder.bind, orders))
    assert len(bed.policies()) == 2
    assert bed.object("crm")["metadata"]["generation"] == 1


async def test_equal_policy_is_adopted(bed: Bench) -> None:
    """What a run before a crash had created already is used as it is."""
    made = bed.api.create(bed.path, dict(policy(bed.profile("crm"))))
    await bed.binder.bind(bed.order("crm"))
    assert bed.object("crm")["metadata"]["uid"] == made["metadata"]["uid"]


def plant(bed: Bench, *names: str) -> None:
    """Create a policy of ours by name that allows the internet."""
    manifest: Any = policy(bed.profile(*names))
    wide = manifest["spec"] | {"egress": [{"toEntities": ["world"]}]}
    bed.api.create(bed.path, manifest | {"spec": wide})


async def test_other_policy_under_our_name_is_refused(bed: Bench) -> None:
    """A policy of that name with other rules stops the launch, and is not changed by binding."""
    await bed.binder.bind(bed.order("crm"))
    bed.widen(bed.named("crm"))
    error = await refused(bed, bed.order("crm"), "policy_differs")
    assert "spec.egress" in error.public_message
    plant(bed, "lake")
    await refused(bed, bed.order("lake"), "policy_differs")
    for name in ("crm", "lake"):
        assert bed.object(name)["spec"]["egress"] == [{"toEntities": ["world"]}]


async def test_other_policy_under_our_name_is_foreign_at_a_start(bed: Bench) -> None:
    """What nobody here made and does not mean what it is called is somebody else's."""
    plant(bed, "crm")
    await refused(bed, bed.order("crm"), "foreign_policy")


async def test_creating_over_another_policy_is_noticed(bed: Bench) -> None:
    """Whoever puts a policy there between our look and our creation does not get away with it."""
    plant(bed, "crm")
    with pytest.raises(IntegrityViolation, match="there already"):
        await bed.binder._objects.create(policy(bed.profile("crm")), Patience(0))  # the race, won


@pytest.mark.parametrize("name", ["sluice-baseline", "sluice-cut"])
async def test_nothing_is_bound_without_the_installed_policies(bed: Bench, name: str) -> None:
    """A namespace whose denials are missing, or were changed, gets no allowance."""
    bed.api.merge(f"{bed.path}/{name}", {"spec": {"egress": [{"toEntities": ["world"]}]}})
    error = await refused(bed, bed.order("crm"), "baseline_missing")
    assert f"{name} differs in spec.egress" in error.public_message
    assert "kubectl apply -k deploy/cluster" in error.public_message
    bed.remove(name)
    error = await refused(bed, bed.order("crm"), "baseline_missing")
    assert f"{name} is missing" in error.public_message
    assert bed.policies() == set()


@pytest.mark.parametrize("known", [True, False])
async def test_nothing_is_bound_beside_foreign_policies(bed: Bench, known: bool) -> None:
    """One that appears between two audits is seen by the next launch; until it is gone, no pods."""
    if known:
        await bed.binder.audit()
    name = "allow-all"
    spec: Object = {"endpointSelector": {}, "egress": [{"toEntities": ["all"]}]}
    manifest = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy"}
    bed.api.create(bed.path, {**manifest, "metadata": {"name": name}, "spec": spec})
    error = await refused(bed, bed.order("crm"), "foreign_policy")
    assert f"CiliumNetworkPolicy/{name}" in error.public_message
    bed.remove(name)
    await bed.binder.bind(bed.order("crm"))


async def test_nothing_is_bound_while_the_guard_rails_are_open(bed: Bench) -> None:
    """Whoever watches the guards stops launches with a sentence, and lets them go on."""
    bed.binder.blocked = "a pod with hostNetwork would be accepted"
    error = await refused(bed, bed.order("crm"), "guard_rails_open")
    assert isinstance(error, Retryable)
    assert "hostNetwork" in error.public_message
    bed.binder.blocked = ""
    await bed.binder.bind(bed.order("crm"))


async def test_guard_rails_that_open_meanwhile_stop_the_launch(bed: Bench) -> None:
    """They have to hold when binding ends, not only when it begins."""
    bed.judge("sluice-baseline", "True")
    binding = asyncio.create_task(bed.binder.bind(bed.order("crm")))
    await bed.when_there(bed.named("crm"), bed.judge, "Unknown")
    bed.binder.blocked = "somebody took them away"
    await asyncio.to_thread(bed.judge, bed.named("crm"), "True")
    with pytest.raises(Retryable) as error:
        await binding
    assert error.value.code == "guard_rails_open"


async def test_nothing_is_bound_for_another_site(bed: Bench) -> None:
    """A profile that was compiled for another namespace is never put into this one."""
    other = profile(["crm"], CATALOGUE, Site("elsewhere"))
    await refused(bed, BindOrder("launch-1", "ada", (other,), RECEIPT), "profile_elsewhere")


async def test_new_profiles_are_capped_per_principal_and_day(bed: Bench) -> None:
    """The fourth new profile of a day is one too many; old ones, others and tomorrow are free."""
    await bed.binder.bind(bed.order("crm", "lake", "mail"))
    error = await refused(bed, bed.order("crm", "stripe", launch="launch-2"), "profiles_per_day")
    assert isinstance(error, TooMany)
    assert error.retry_after == 24 * 3600
    assert len(bed.policies()) == 3
    await bed.binder.bind(bed.order("crm", "lake", launch="launch-3"))
    await bed.binder.bind(bed.order("stripe", launch="launch-4", principal="grace"))
    bed.clock.advance(hours=24)
    await bed.binder.bind(bed.order("crm+mail", launch="launch-5"))


async def test_valid_is_awaited_where_the_cluster_says_it(bed: Bench) -> None:
    """With a baseline that Cilium has judged, a new policy is not in force before it is valid."""
    bed.judge("sluice-baseline", "True")
    began = time.monotonic()
    binding = asyncio.create_task(bed.binder.bind(bed.order("crm")))
    await bed.when_there(bed.named("crm"), bed.judge, "Unknown")
    await asyncio.sleep(0.3)
    assert not binding.done()
    await asyncio.to_thread(bed.judge, bed.named("crm"), "Unknown", "still")
    await asyncio.sleep(0.1)
    assert not binding.done()
    await asyncio.to_thread(bed.judge, bed.named("crm"), "True")
    await asyncio.wait_for(binding, 2)
    assert time.monotonic() - began < 5
    await bed.binder.bind(bed.order("crm"))


@pytest.mark.parametrize("reported", [True, False])
async def test_a_policy_that_cilium_refuses_stops_the_launch(bed: Bench, reported: bool) -> None:
    """``Valid=False`` counts with or without a judged baseline, and Cilium's words are told."""
    if reported:
        bed.judge("sluice-baseline", "True")
        said = bed.when_there(bed.named("crm"), bed.judge, "False", "port is out of range")
        judging = asyncio.create_task(said)
        error = await refused(bed, bed.order("crm"), "policy_invalid")
        await judging
        assert "port is out of range" in error.public_message
    else:
        await bed.binder.bind(bed.order("crm"))
        bed.judge(bed.named("crm"), "False", "who knows")
    await refused(bed, bed.order("crm", launch="launch-2"), "policy_invalid")


async def test_a_baseline_that_cilium_refuses_denies_nothing(bed: Bench) -> None:
    """A baseline that is there and not valid is as good as none."""
    bed.judge("sluice-baseline", "False", "cannot parse")
    error = await refused(bed, bed.order("crm"), "baseline_missing")
    assert "cannot parse" in error.public_message


async def test_silence_of_cilium_ends_the_wait(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    """Nothing said in time is no yes: it can be tried again, and nothing runs meanwhile."""
    where = Path(cluster["KUBECONFIG"])
    async with bench(api, where, namespace, tmp_path, valid_seconds=0.3) as bed:
        bed.judge("sluice-baseline", "True")
        error = await refused(bed, bed.order("crm"), "policy_unconfirmed")
        assert error.retryable


async def test_validity_may_be_demanded(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> None:
    """``require_valid`` refuses where nobody says whether a policy is valid."""
    where = Path(cluster["KUBECONFIG"])
    async with bench(api, where, namespace, tmp_path, require_valid=True) as bed:
        await refused(bed, bed.order("crm"), "validity_unknown")
        bed.judge("sluice-baseline", "True")
        judging = asyncio.create_task(bed.when_there(bed.named("crm"), bed.judge, "True"))
        await bed.binder.bind(bed.order("crm"))
        await judging


async def test_a_policy_deleted_while_it_is_judged_is_not_in_force(bed: Bench) -> None:
    """Waiting for a verdict notices that what is waited for has gone."""
    bed.judge("sluice-baseline", "True")
    binding = asyncio.create_task(bed.binder.bind(bed.order("crm")))
    await bed.when_there(bed.named("crm"), bed.remove)
    with pytest.raises(IntegrityViolation) as error:
        await binding
    assert error.value.code == "policy_differs"


@pytest.fixture
def stubborn(api: Api, namespace: str) -> Iterator[str]:
    """An admission policy that lets nobody make policies in the namespace; returns its words."""
    words = "no network policies on Sundays"
    name = f"bed-{namespace}"
    group = "/apis/admissionregistration.k8s.io/v1"
    kinds = [
        {
            "apiGroups": ["cilium.io"],
            "apiVersions": ["*"],
            "operations": ["CREATE"],
            "resources": ["ciliumnetworkpolicies"],
        }
    ]
    rules = {
        "matchConstraints": {"resourceRules": kinds},
        "validations": [{"expression": "object.metadata.name == 'sluice-baseline' || "
                         "object.metadata.name == 'sluice-cut'", "message": words}],
    }  # fmt: skip
    own = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    bound = {
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": own},
    }
    meta = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    api.create(
        f"{group}/validatingadmissionpolicies",
        {**meta, "kind": "ValidatingAdmissionPolicy", "spec": rules},
    )
    api.create(
        f"{group}/validatingadmissionpolicybindings",
        {**meta, "kind": "ValidatingAdmissionPolicyBinding", "spec": bound},
    )
    yield words
    api.delete(f"{group}/validatingadmissionpolicybindings/{name}")
    api.delete(f"{group}/validatingadmissionpolicies/{name}")


async def test_a_refused_dry_run_is_told_in_the_servers_words(bed: Bench, stubborn: str) -> None:
    """What the API server would not take is refused with its reason, and nothing was created."""
    probe: Any = policy(bed.profile("mail"))
    for _ in range(200):  # until the API server has compiled the admission policy
        try:
            bed.api.create(bed.path, probe, dryRun="All")
        except ApiError:
            break
        await asyncio.sleep(0.1)
    error = await refused(bed, bed.order("crm"), "cluster_refuses")
    assert stubborn in error.public_message
    assert bed.policies() == set()


async def test_missing_rights_are_named(bed: Bench, api: Api, tmp_path: Path) -> None:
    """A binder that may not do its work says so, with the way out, and fails closed."""
    path = f"/api/v1/namespaces/{bed.namespace}/serviceaccounts/default/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    file = tmp_path / "token"
    file.write_text(api.create(path, request)["status"]["token"])
    client = await type(bed.client).open(bed.kubeconfig, file)
    try:
        weak = CiliumBinder(client, bed.database, bed.settings)
        with pytest.raises(Misconfigured) as error:
            await weak.bind(bed.order("crm"))
        assert error.value.code == "cluster_forbids"
        assert "cannot list resource" in error.value.public_message
        assert "kubectl apply -k deploy/cluster" in error.value.public_message
    finally:
        await client.close()


async def test_an_api_server_that_is_away_is_waited_for(bed: Bench, tmp_path: Path) -> None:
    """An outage shorter than ``patience_seconds`` delays a launch and fails none."""
    async with Door(bed.api.server) as door:
        patient = await _behind(door, bed, tmp_path, seconds=20)
        try:
            await patient.bind(bed.order("crm"))
            await door.shut()
            binding = asyncio.create_task(patient.bind(bed.order("lake")))
            await asyncio.sleep(0.5)
            assert not binding.done()
            await door.open()
            await asyncio.wait_for(binding, 10)
        finally:
            await patient.close()
    assert bed.object("lake")


async def test_an_outage_beyond_patience_fails_the_launch(bed: Bench, tmp_path: Path) -> None:
    """When patience ends, the error says who was away, and at which step; and can be retried."""
    async with Door(bed.api.server) as door:
        patient = await _behind(door, bed, tmp_path, seconds=0.3)
        try:
            await patient.audit()
            await door.shut()
            with pytest.raises(ClusterAway) as error:
                await patient.bind(bed.order("crm"))
            assert (error.value.code, error.value.step) == ("cluster_away", "bind")
            await door.open()
            await patient.bind(bed.order("crm"))
        finally:
            await patient.close()


async def test_a_crash_before_the_creation_leaves_nothing_to_clean(bed: Bench) -> None:
    """A use that was written and a policy that was not: binding again makes it."""
    await bed.binder._use(bed.order("crm"))  # what a crash leaves behind
    again = bed.restarted()
    await again.bind(bed.order("crm"))
    assert bed.policies() == {bed.named("crm")}


async def test_a_stored_profile_that_is_another_is_a_collision(bed: Bench) -> None:
    """The whole canonical form is compared when a name is used again, not its digest alone."""
    await bed.binder.bind(bed.order("crm"))
    await bed.database.write(
        lambda connection: (
            connection.execute("UPDATE network_profiles SET canonical = '{}'") and None
        )
    )
    await refused(bed, bed.order("crm"), "profile_collision")


async def _behind(door: Door, bed: Bench, folder: Path, *, seconds: float) -> CiliumBinder:
    """Return a binder that reaches the API server through a door."""
    kubeconfig = door.kubeconfig(bed.kubeconfig, folder)
    client = await type(bed.client).open(kubeconfig)
    settings = bed.settings.model_copy(update={"patience_seconds": seconds})
    return CiliumBinder(client, bed.database, settings, clock=bed.clock)
