"""The audit on a real API server: what it finds, what it puts back, and what it never touches."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, Object
from bed.oracle import PolicyOracle
from binder_bed import Bench, bench

from gateway.canonical import digest
from gateway.network.audit import AuditReport
from gateway.network.cilium import policy
from gateway.network.cilium_binder import CiliumBinder


@pytest.fixture
async def bed(
    api: Api, cluster: dict[str, str], namespace: str, tmp_path: Path
) -> AsyncIterator[Bench]:
    """A binder in a namespace of this test."""
    async with bench(api, Path(cluster["KUBECONFIG"]), namespace, tmp_path) as found:
        yield found


async def test_nothing_to_tell(bed: Bench) -> None:
    """With everything as it ought to be, the report is empty, unused profiles included."""
    assert (await bed.binder.audit()).clean
    await bed.binder.bind(bed.order("crm", "lake"))
    await bed.binder.release("launch-1")
    report = await bed.binder.audit()
    assert report == AuditReport()
    assert json.dumps(report.to_json())


async def test_an_edited_policy_is_restored(bed: Bench, oracle: PolicyOracle) -> None:
    """Ours is replaced by what its name means; the report says which, where, and that it is."""
    await bed.binder.bind(bed.order("crm", "lake"))
    name = bed.named("crm")
    edited = bed.object("crm")["metadata"]["uid"]
    bed.widen(name)
    report = await bed.binder.audit()
    assert (report.edited, report.restored, report.missing) == ((name,), (name,), ())
    assert report.differences == {name: ("spec.egress",)}
    assert bed.object("crm")["spec"] == policy(bed.profile("crm"))["spec"]
    assert bed.object("crm")["metadata"]["uid"] != edited
    assert oracle.ask(bed.object("crm")).ok
    assert (await bed.binder.audit()).clean
    await bed.binder.bind(bed.order("crm", launch="launch-2"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"spec": {"enableDefaultDeny": {"egress": False}}}, "spec.enableDefaultDeny"),
        ({"spec": {"endpointSelector": {"matchLabels": None}}}, "spec.endpointSelector"),
        ({"specs": [{"endpointSelector": {}, "egress": [{}]}]}, "specs"),
        ({"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, "metadata.labels"),
        ({"metadata": {"annotations": None}}, "metadata.canonical"),
    ],
)
async def test_every_kind_of_edit_is_noticed(bed: Bench, change: Object, where: str) -> None:
    """Whatever decides what is allowed to whom is compared, added fields as well."""
    await bed.binder.bind(bed.order("crm"))
    name = bed.named("crm")
    bed.api.merge(f"{bed.path}/{name}", change)
    report = await bed.binder.audit()
    assert report.restored == (name,)
    assert report.differences[name][0].startswith(where)
    assert (await bed.binder.audit()).clean


async def test_a_missing_policy_is_restored_and_a_binder_does_not_wait_for_it(bed: Bench) -> None:
    """A deleted policy comes back by the audit, or by the next launch that needs it."""
    await bed.binder.bind(bed.order("crm", "lake"))
    bed.remove(bed.named("crm"))
    report = await bed.binder.audit()
    assert (report.missing, report.restored) == ((bed.named("crm"),), (bed.named("crm"),))
    bed.remove(bed.named("lake"))
    await bed.binder.bind(bed.order("lake"))
    assert (await bed.binder.audit()).clean


async def test_a_policy_that_is_being_deleted_does_not_count(bed: Bench) -> None:
    """Somebody's finalizer keeps a deleted policy in sight: that is a problem, and not fine."""
    await bed.binder.bind(bed.order("crm"))
    name = bed.named("crm")
    bed.api.merge(f"{bed.path}/{name}", {"metadata": {"finalizers": ["bed.sluice/stays"]}})
    bed.remove(name)
    report = await bed.binder.audit()
    assert report.edited == (name,)
    assert report.differences == {name: ("metadata.deletionTimestamp",)}
    assert report.restored == ()
    assert name in report.problems[0]
    bed.api.merge(f"{bed.path}/{name}", {"metadata": {"finalizers": None}})
    assert (await bed.binder.audit()).restored == (name,)


async def test_foreign_policies_are_named_and_left_alone(bed: Bench) -> None:
    """Whatever else could allow or redirect something is in the report, of every kind there is."""
    meta = {"metadata": {"name": "theirs"}}
    spec: Object = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    kubernetes = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **meta}
    bed.api.create(
        f"/apis/networking.k8s.io/v1/namespaces/{bed.namespace}/networkpolicies",
        {**kubernetes, "spec": spec},
    )
    cilium = {"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", **meta}
    rule = {"endpointSelector": {}, "egress": [{"toEntities": ["all"]}]}
    bed.api.create(bed.path, {**cilium, "spec": rule})
    report = await bed.binder.audit()
    assert report.foreign == ("CiliumNetworkPolicy/theirs", "NetworkPolicy/theirs")
    assert (report.unseen, report.restored, report.problems) == ((), (), ())
    assert bed.policies() == {"theirs"}


async def test_the_installed_policies_are_compared_and_not_repaired(bed: Bench) -> None:
    """A broken baseline is an administrator's matter: told, and left as it is."""
    bed.widen("sluice-baseline")
    bed.remove("sluice-cut")
    report = await bed.binder.audit()
    assert report.baseline == (
        "sluice-baseline differs in spec.egress[0].toEntities",
        "sluice-cut is missing",
    )
    assert not report.restored
    assert await bed.binder.audit() == report


async def test_what_explains_itself_is_adopted(bed: Bench) -> None:
    """A policy of ours without a row allows what its name always meant: it is kept for a while.

    So a gateway that lost its database is not locked out of its own namespace.
    """
    bed.api.create(bed.path, dict(policy(bed.profile("crm"))))
    await bed.binder.bind(bed.order("lake"))
    report = await bed.binder.audit()
    assert (report.adopted, report.foreign) == ((bed.named("crm"),), ())
    assert (await bed.binder.audit()).clean
    bed.clock.advance(hours=25)
    await bed.binder.bind(bed.order("lake", launch="launch-2"))
    assert await bed.binder.collect() == [bed.profile("crm").name]
    assert bed.policies() == {bed.named("lake")}


async def test_what_only_pretends_to_explain_itself_is_foreign(bed: Bench) -> None:
    """A name made of the annotation proves nothing about the rules: they have to follow from it."""
    manifest: Any = policy(bed.profile("crm"))
    wide = manifest["spec"] | {"egress": [{"toEntities": ["world"]}]}
    bed.api.create(bed.path, manifest | {"spec": wide})
    text = json.dumps({"generator": 99})
    forged = {"name": f"sluice-p-{digest({'generator': 99})[:32]}", "namespace": bed.namespace}
    notes = {"annotations": {"sluice/profile-canonical": text.replace(" ", "")}}
    bed.api.create(bed.path, manifest | {"metadata": {**forged, **notes}})
    report = await bed.binder.audit()
    assert set(report.foreign) == {
        f"CiliumNetworkPolicy/{bed.named('crm')}",
        f"CiliumNetworkPolicy/{forged['name']}",
    }
    assert report.adopted == ()


async def test_a_forged_row_restores_nothing(bed: Bench) -> None:
    """Who can write the database cannot have the audit write a policy of their choice."""
    await bed.binder.bind(bed.order("crm"))
    row = json.dumps({**bed.profile("crm").canonical, "rules": []})
    await bed.database.write(
        lambda connection: (
            connection.execute("UPDATE network_profiles SET canonical = ?", (row,)).rowcount
        )
    )
    bed.widen(bed.named("crm"))
    report = await bed.binder.audit()
    assert report.restored == ()
    assert "not what that name is made of" in report.problems[0]
    assert report.foreign == (f"CiliumNetworkPolicy/{bed.named('crm')}",)


async def test_what_cilium_refuses_is_told(bed: Bench) -> None:
    """A policy that is equal and not valid enforces nothing new: the report says so."""
    await bed.binder.bind(bed.order("crm"))
    bed.judge(bed.named("crm"), "False", "cannot parse")
    report = await bed.binder.audit()
    assert report.problems == (f"Cilium refuses {bed.named('crm')}: cannot parse",)


async def test_another_flavour_of_dns_leaves_old_policies_alone(bed: Bench) -> None:
    """After the DNS setting changed, the old profiles are not ours to restore, nor foreign."""
    await bed.binder.bind(bed.order("crm"))
    settings = bed.settings.model_copy(update={"dns": "openshift"})
    later = CiliumBinder(bed.client, bed.database, settings, clock=bed.clock)
    assert (await later.audit()).clean
    await later.retain([])
    bed.clock.advance(hours=25)
    assert await later.collect() == [bed.profile("crm").name]


async def test_kinds_that_may_not_be_listed_stop_launches(bed: Bench, tmp_path: Path) -> None:
    """A binder that cannot see whether others allow something does not say that nobody does."""
    rights = "/apis/rbac.authorization.k8s.io/v1"
    where = f"{rights}/namespaces/{bed.namespace}"
    rule = {"apiGroups": ["cilium.io"], "resources": ["ciliumnetworkpolicies"], "verbs": ["*"]}
    version = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "half"}}
    bed.api.create(f"{where}/roles", {**version, "kind": "Role", "rules": [rule]})
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "half"}
    who = [{"kind": "ServiceAccount", "name": "default", "namespace": bed.namespace}]
    bed.api.create(
        f"{where}/rolebindings",
        {**version, "kind": "RoleBinding", "roleRef": role, "subjects": who},
    )
    token = bed.api.create(
        f"/api/v1/namespaces/{bed.namespace}/serviceaccounts/default/token",
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
    )
    file = tmp_path / "token"
    file.write_text(token["status"]["token"])
    client = await type(bed.client).open(bed.kubeconfig, file)
    half = CiliumBinder(client, bed.database, bed.settings)
    try:
        report = await half.audit()
        assert [sentence.split(":")[0] for sentence in report.unseen] == [
            "cannot list networkpolicies",
            "cannot list ciliumenvoyconfigs",
            "cannot list ciliumlocalredirectpolicies",
        ]
        with pytest.raises(Exception, match="cannot list networkpolicies") as error:
            await half.bind(bed.order("crm"))
        assert getattr(error.value, "code", "") == "audit_incomplete"
    finally:
        await half.close()
