"""``policies/data/*.yaml`` -> ``PolicyData``, or every finding that keeps it from being one.

Each file is checked against ``schemas/NAME.schema.json`` beside it, then against the others. Files
beyond the six that the gateway reads are allowed: rules see them as ``data.NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from gateway.canonical import Json
from gateway.policy.crosscheck import cross_check, moment
from gateway.policy.data import (
    Declassify,
    Destination,
    Limits,
    ParameterDoc,
    Person,
    Pipeline,
    PolicyData,
    PortRange,
    StandingApproval,
    Tier,
    TierName,
    Workspace,
)
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.overlap import widened
from gateway.policy.pods import (
    CPU,
    MAX_CPU,
    MAX_MEMORY,
    MEMORY,
    PodAllowances,
    PodAsk,
    SecretUse,
    VolumeUse,
)
from gateway.policy.quantities import canonical
from gateway.policy.schemas import violations
from gateway.policy.yamlfile import YamlFile, read_yaml

REQUIRED = ("destinations", "groups", "limits", "persons", "pipelines")  # pods may be left out

_NAME = re.compile(r"data/([a-z][a-z0-9_]*)\.yaml")


def parse_data(files: Mapping[str, bytes]) -> tuple[PolicyData, dict[str, Json]]:
    """Return the typed view and the documents that rules see as ``data``.

    ``files`` maps paths below the policy folder to their bytes. Raises ``PolicyInvalid``.
    """
    findings = [
        Finding(f"data/{name}.yaml", 0, "is missing")
        for name in REQUIRED
        if f"data/{name}.yaml" not in files
    ]
    read: dict[str, YamlFile] = {}
    for path, content in files.items():
        if found := _NAME.fullmatch(path):
            try:
                read[found[1]] = read_yaml(path, content)
            except PolicyInvalid as error:
                findings += error.findings
        elif path.startswith("data/") and not path.startswith("data/schemas/"):
            findings.append(Finding(path, 0, "data is named like name_of_it.yaml"))
    for name, file in read.items():
        findings += _against_schema(name, file, files)
    if findings:
        raise PolicyInvalid(findings)
    if findings := cross_check(read):
        raise PolicyInvalid(findings)
    documents = {name: file.value for name, file in sorted(read.items())}
    try:
        return _data(documents, read), documents
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"the schemas allow what the gateway cannot read: {type(error).__name__} {error}"
        raise PolicyInvalid([Finding("data/schemas", 0, reason)]) from error


def _against_schema(name: str, file: YamlFile, files: Mapping[str, bytes]) -> list[Finding]:
    path = f"data/schemas/{name}.schema.json"
    if name == "sluice":
        return [Finding(file.name, 0, "data.sluice is where the rules are: choose another name")]
    if path not in files:
        return [Finding(file.name, 0, f"has no schema: {path} is missing")]
    return violations(file, path, files[path])


def _data(documents: Mapping[str, Any], files: Mapping[str, YamlFile]) -> PolicyData:
    limits = documents["limits"]
    pods = _allowances(documents.get("pods") or {})
    return PolicyData(
        pipelines={name: _pipeline(name, item, pods) for name, item in _of(documents, "pipelines")},
        destinations=widened(
            {name: _destination(name, item) for name, item in _of(documents, "destinations")}
        ),
        persons={
            name: Person(name, tuple(item["accounts"]), tuple(item.get("owns_agents", ())))
            for name, item in _of(documents, "persons")
        },
        groups={name: tuple(item["members"]) for name, item in _of(documents, "groups")},
        limits=Limits(
            running=limits["running"],
            tiers={name: _tier(name, limits["tiers"][name]) for name in get_args(TierName)},
        ),
        pods=pods,
        files=files,
    )


def _of(documents: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    return sorted((documents.get(name) or {}).items())


def _pipeline(name: str, item: Mapping[str, Any], pods: PodAllowances) -> Pipeline:
    standing = item.get("standing_approval")
    workspace = item.get("workspace", {"keep": False})
    return Pipeline(
        name=name,
        title=item["title"],
        description=item["description"],
        source=item["source"],
        module=item["module"],
        task=item["task"],
        owner=item["owner"],
        tier=item["tier"],
        launchers=tuple(item["launchers"]),
        parameters={key: _parameter(doc) for key, doc in item.get("parameters", {}).items()},
        destinations=tuple(item.get("destinations", ())),
        agents_allowed=item.get("agents_allowed", False),
        allow_unenforced=item.get("allow_unenforced", False),
        workspace=Workspace(workspace["keep"], tuple(workspace.get("classes", ()))),
        standing_approval=StandingApproval(
            standing["code_digest"], moment(standing["until"]), standing["by"], standing["reason"]
        )
        if standing
        else None,
        declassify=tuple(
            Declassify(entry["family"], tuple(entry["classes"]), entry["code_digest"])
            for entry in item.get("declassify", ())
        ),
        image=item.get("image"),
        pod=_pod(item.get("pod", {}), pods),
    )


def _pod(item: Mapping[str, Any], pods: PodAllowances) -> PodAsk:
    return PodAsk(
        cpu=canonical(str(item.get("cpu", CPU))),
        memory=canonical(str(item.get("memory", MEMORY))),
        secrets=tuple(pods.secrets[name] for name in sorted(item.get("secrets", ()))),
        volumes=tuple(pods.volumes[name] for name in sorted(item.get("volumes", ()))),
    )


def _allowances(document: Mapping[str, Any]) -> PodAllowances:
    return PodAllowances(
        secrets={
            name: SecretUse(
                name, item["secret"], item["key"], item["env"], tuple(item["pipelines"])
            )
            for name, item in _of(document, "secrets")
        },
        volumes={
            name: VolumeUse(
                name,
                item["claim"],
                item["mount"],
                tuple(item["pipelines"]),
                tuple(sorted(item["classes"])),
            )
            for name, item in _of(document, "volumes")
        },
    )


def _parameter(doc: Mapping[str, Any]) -> ParameterDoc:
    choices = doc.get("choices")
    return ParameterDoc(
        description=doc["description"],
        shown=doc["shown"],
        type=doc.get("type", "text"),
        default=doc.get("default"),
        choices=tuple(choices) if choices else None,
    )


def _destination(name: str, item: Mapping[str, Any]) -> Destination:
    return Destination(
        name=name,
        title=item["title"],
        kind=item["kind"],
        host=item.get("host", ""),
        ports=tuple(_ports(entry) for entry in item["ports"]),
        protocol=item["protocol"],
        tenancy=item["tenancy"],
        emits=tuple(sorted(item["emits"])),
        accepts=tuple(sorted(item["accepts"])),
        agents=item.get("agents", False),
        holes=tuple(item.get("except", ())),
        server_names=tuple(item.get("server_names", ())),
        service_account=item.get("service_account", ""),
    )


def _ports(entry: int | Mapping[str, int]) -> PortRange:
    if isinstance(entry, int):
        return PortRange(entry, entry)
    return PortRange(entry["port"], entry["endPort"])


def _tier(name: TierName, item: Mapping[str, Any]) -> Tier:
    return Tier(
        name=name,
        max_tasks=item["max_tasks"],
        ask_people=item["ask_people"],
        need_enforcement=item["need_enforcement"],
        approvers=tuple(item["approvers"]),
        max_cpu=canonical(str(item.get("max_cpu", MAX_CPU))),
        max_memory=canonical(str(item.get("max_memory", MAX_MEMORY))),
    )
