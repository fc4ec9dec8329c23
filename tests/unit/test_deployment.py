"""Dockerfile, compose file, cluster manifests, Makefile and CI say the same as the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cluster.marks import CUT, EXPLAINED, PROFILE_LABEL, is_code_name, payload_name
from gateway.cluster.pods import CANARY, COMMAND, CONTAINER, USER
from gateway.network.baseline import baseline, init_deny
from gateway.settings import CLIENT_VARIABLES, Settings, known_keys, load

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CLUSTER = DEPLOY / "cluster"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GUARDS = sorted((CLUSTER / "guards").glob("*.yaml"))


def documents(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a YAML file."""
    return list(yaml.safe_load_all(file.read_text()))


def installed(kind: str) -> list[dict[str, Any]]:
    """Return what ``deploy/cluster`` has of a kind."""
    files = yaml.safe_load((CLUSTER / "kustomization.yaml").read_text())["resources"]
    return [item for file in files for item in documents(CLUSTER / file) if item["kind"] == kind]


def key_of(variable: str) -> str:
    """Return the setting that an environment variable sets."""
    return variable.removeprefix("SLUICE_").lower().replace("__", ".")


def test_container_sets_only_settings_that_exist() -> None:
    """A renamed setting breaks this test and not a deployment."""
    variables = set(re.findall(r"\b(SLUICE_[A-Z_]+)=", DOCKERFILE))
    for service in COMPOSE["services"].values():
        variables |= set(service.get("environment", {}))
    for file in DEPLOY.rglob("*.yaml"):
        variables |= set(re.findall(r"name: (SLUICE_[A-Z_]+)", file.read_text()))
    assert len(variables) > 5
    assert {key_of(name) for name in variables - CLIENT_VARIABLES} <= set(known_keys())


def test_image_runs_as_nobody_in_particular() -> None:
    """The image ends as an ordinary user, and its dependencies are pinned by hash."""
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE


def test_compose_is_reachable_from_this_machine_only() -> None:
    """The example deployment trusts a development issuer, so it listens on loopback alone."""
    for service in COMPOSE["services"].values():
        for port in service["ports"]:
            assert port.startswith("127.0.0.1:")
        assert service["cap_drop"] == ["ALL"]
        assert service["read_only"]


def test_cluster_installs_every_file() -> None:
    """No manifest lies in the folder and is not installed, but the one that says so."""
    listed = set(yaml.safe_load((CLUSTER / "kustomization.yaml").read_text())["resources"])
    present = {str(file.relative_to(CLUSTER)) for file in CLUSTER.rglob("*.yaml")}
    assert present - listed == {"kustomization.yaml", "quota.example.yaml"}


def test_cluster_baseline_is_what_the_gateway_compares() -> None:
    """The policies that the installation brings are those that the binder demands."""
    assert installed("CiliumNetworkPolicy") == list(baseline("sluice-tasks"))


def test_clusterwide_policy_is_offered_and_not_installed() -> None:
    """What touches other tenants is in a folder of its own, which nothing refers to."""
    assert documents(DEPLOY / "clusterwide" / "init-deny.yaml") == [init_deny()]
    for file in DEPLOY.rglob("kustomization.yaml"):
        if file.parent.name != "clusterwide":
            assert not any("clusterwide" in str(item) for item in documents(file)[0]["resources"])


@pytest.mark.parametrize("file", GUARDS, ids=lambda file: file.stem)
def test_cluster_guard_fails_closed(file: Path) -> None:
    """A guard that cannot be asked refuses, denies in the namespace by its name, and says so."""
    guard, binding = documents(file)
    assert (guard["kind"], binding["kind"]) == (
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    )
    name = guard["metadata"]["name"]
    assert guard["spec"]["failurePolicy"] == "Fail"
    conditions = [item["name"] for item in guard["spec"].get("matchConditions", [])]
    # Each would be a way round; of the one, every part was attacked on a real API server.
    assert conditions == (["more-than-a-cut"] if name == "sluice-pods-that-exist" else [])
    assert binding["metadata"]["name"] == binding["spec"]["policyName"] == name
    assert binding["spec"]["validationActions"] == ["Deny"]
    tasks = {"kubernetes.io/metadata.name": "sluice-tasks"}
    assert binding["spec"]["matchResources"] == {"namespaceSelector": {"matchLabels": tasks}}
    for rule in guard["spec"]["validations"]:
        assert "sluice: " in rule.get("message", rule.get("messageExpression"))
        assert rule["reason"] == "Forbidden"


def test_cluster_guards_know_the_gateways_pods() -> None:
    """Names that guard and executor share are the same on both sides."""
    pods = (CLUSTER / "guards" / "pods.yaml").read_text()
    for mark in (PROFILE_LABEL, *EXPLAINED):
        assert f"'{mark}'" in pods
    assert f"== [{', '.join(map(repr, COMMAND))}]" in pods
    assert f"== ['{CONTAINER}']" in pods
    assert f"== ['{CANARY}']" in pods
    assert f"== {USER}" in pods
    assert f"== '{Settings().cluster.service_account}'" in pods
    assert f"== '{CUT}'" in (CLUSTER / "guards" / "pods-that-exist.yaml").read_text()


def test_cluster_guard_knows_what_the_gateway_delivers() -> None:
    """What the guard lets the runner delete has exactly the names that the gateway gives."""
    text = (CLUSTER / "guards" / "payloads.yaml").read_text()
    (pattern,) = re.findall(r"oldObject\.metadata\.name\.matches\('([^']+)'\)", text)
    digest = "0123456789abcdef" * 4
    code, guest = payload_name("code", digest), payload_name("guest", digest)
    assert re.search(pattern, code)
    assert is_code_name(code)
    for name in (guest, "kube-root-ca.crt", "sluice-code-mine", f"x{code}"):
        assert not re.search(pattern, name)
        assert not is_code_name(name)


def test_cluster_accounts_are_the_ones_that_guards_trust() -> None:
    """Each account that a guard trusts is installed, and has no token in its pods by default."""
    accounts = {
        f"system:serviceaccount:{item['metadata']['namespace']}:{item['metadata']['name']}"
        for item in installed("ServiceAccount")
    }
    trusted = set(
        re.findall(r"'(system:serviceaccount:sluice[^']*)'", "".join(f.read_text() for f in GUARDS))
    )
    assert len(trusted) == 2
    assert trusted <= accounts
    assert not any(item["automountServiceAccountToken"] for item in installed("ServiceAccount"))


def test_cluster_rights_are_spelled_out() -> None:
    """No right is given by a wildcard, and none to the front end or to tasks."""
    for role in (*installed("Role"), *installed("ClusterRole")):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
    bindings = (*installed("RoleBinding"), *installed("ClusterRoleBinding"))
    subjects = {subject["name"] for item in bindings for subject in item["subjects"]}
    assert subjects == {"sluice-binder", "sluice-runner"}


def test_cluster_gateway_starts_from_its_settings() -> None:
    """The settings file is one that the gateway reads, and the pod has what it names."""
    settings = load(CLUSTER / "sluice.toml", {})
    assert (settings.environment, settings.cluster.enabled) == ("production", True)
    assert settings.cluster.namespace == "sluice-tasks"
    (gateway,) = installed("Deployment")
    spec = gateway["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mounted = {Path(mount["mountPath"]) for mount in container["volumeMounts"]}
    for token in (settings.cluster.runner_token, settings.cluster.binder_token):
        assert token is not None
        assert token.parent in mounted
    assert spec["securityContext"]["runAsUser"] == 10001  # as in the Dockerfile
    assert (gateway["spec"]["replicas"], gateway["spec"]["strategy"]["type"]) == (1, "Recreate")
    assert container["image"].startswith("sluice.invalid/")  # nobody can serve it by accident


def test_lock_has_hashes_and_no_addresses() -> None:
    """Every locked package is pinned by hash, and no index is named."""
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.findall(r"^([a-z0-9._-]+)==", lock, re.MULTILINE)
    assert len(pins) > 30
    assert lock.count("--hash=sha256:") >= len(pins)
    assert "://" not in lock


def test_ci_calls_what_the_readme_names() -> None:
    """CI and users run the same targets."""
    ci, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    for target in ("make demo", "make test"):
        assert target in ci
        assert target in readme
