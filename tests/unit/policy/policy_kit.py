"""A small policy that is complete and dull, and ways to bend it: samples for the tests here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from gateway.canonical import Json, digest
from gateway.model import Kind, Member, Principal, TaskGraph, TaskNode, graph_digest
from gateway.policy.compiler import DENY, compiled, input_shapes
from gateway.policy.findings import Finding, PolicyInvalid, refuse
from gateway.policy.lexer import check_text
from gateway.policy.plan import Plan
from gateway.policy.process import WorkerProcess
from gateway.policy.snapshot import Snapshot, snapshot_of
from gateway.policy.strict import Sources, check_policy
from gateway.settings import PolicySettings

SHIPPED = Path(__file__).parents[3] / "policies"
ISSUER = "https://dev.sluice.local"
NOW = "2026-11-22T08:15:00.000Z"

HISTORY: Mapping[str, Json] = {
    "launches_last_hour": 0,
    "launches_today": 0,
    "running": 0,
    "approved_code_digests": [],
    "last_approved_content_digest": None,
}

_DATA = {
    "data/pipelines.yaml": """\
report:
  title: Report
  description: A report.
  source: examples/report
  module: report
  task: Report
  owner: analysts
  tier: low
  launchers: [analysts]
  destinations: [lake]
  parameters:
    day: {description: The day., shown: true}
    key: {description: A key., shown: false}
""",
    "data/destinations.yaml": """\
lake:
  title: Lake
  kind: fqdn
  host: lake.example
  ports: [443]
  protocol: https
  tenancy: internal
  emits: [personal, public]
  accepts: [personal, public]
web:
  title: Web
  kind: fqdn
  host: web.example
  ports: [443]
  protocol: https
  tenancy: internet
  emits: [public]
  accepts: [public]
""",
    "data/groups.yaml": "analysts: {title: Analysts, members: [ada]}\n",
    "data/persons.yaml": f'ada: {{accounts: ["{ISSUER}#ada"], owns_agents: ["{ISSUER}#bot"]}}\n',
    "data/limits.yaml": """\
running: 20
tiers:
  low: {max_tasks: 9, ask_people: false, need_enforcement: false, approvers: [analysts]}
  standard: {max_tasks: 9, ask_people: false, need_enforcement: false, approvers: [analysts]}
  high: {max_tasks: 9, ask_people: true, need_enforcement: true, approvers: [analysts]}
""",
}


def module(package: str, body: str = "") -> str:
    """Return a module; without a body, one that denies nothing."""
    rules = body or 'deny contains {"rule": "never"} if input.request.reason == "never"\n'
    return f"package sluice.{package}\n\nimport rego.v1\n\n{rules}"


def files(**overrides: str | None) -> dict[str, bytes]:
    """Return the files of the small policy.

    Keywords name files with ``__`` for ``/`` and ``.``: ``task__rego="..."`` replaces ``task.rego``
    and ``data__groups__yaml=None`` leaves a file out.
    """
    texts: dict[str, str] = {f"{name}.rego": module(name) for name in ("admit", "task", "launch")}
    texts |= _DATA
    for path in (SHIPPED / "data" / "schemas").iterdir():
        texts[f"data/schemas/{path.name}"] = path.read_text()
    for name, text in overrides.items():
        folder, _, rest = name.rpartition("__")
        path = folder.replace("__", "/") + "." + rest
        if text is None:
            del texts[path]
        else:
            texts[path] = text
    return {path: text.encode() for path, text in texts.items()}


def write(folder: Path, content: Mapping[str, bytes]) -> Path:
    """Write a policy into a folder."""
    for path, data in content.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return folder


def settings(**changes: object) -> PolicySettings:
    """Return settings that differ from the defaults where a test says so."""
    return PolicySettings.model_validate(changes)


def findings_of(content: Mapping[str, bytes]) -> tuple[Finding, ...]:
    """Return what text and data alone are refused for."""
    try:
        snapshot_of(content)
    except PolicyInvalid as error:
        return error.findings
    return ()


def compile_all(cases: Mapping[str, Mapping[str, bytes]]) -> dict[str, tuple[Finding, ...]]:
    """Return what is refused of each policy by its text and by its compiled form.

    All have the sample's data. One worker compiles them, until one of them ends it.
    """

    async def run() -> dict[str, tuple[Finding, ...]]:
        sample = snapshot_of(files())
        worker = await WorkerProcess.start(memory_mb=1024)
        found = {}
        try:
            for name, content in cases.items():
                try:
                    found[name] = await _compile(worker, sample, content)
                except PolicyInvalid as error:
                    found[name] = error.findings
                    await worker.kill()
                    worker = await WorkerProcess.start(memory_mb=1024)
        finally:
            await worker.kill()
        return found

    return asyncio.run(run())


async def _compile(
    worker: WorkerProcess, sample: Snapshot, content: Mapping[str, bytes]
) -> tuple[Finding, ...]:
    modules = {path: data.decode() for path, data in content.items() if path.endswith(".rego")}
    refuse(finding for path, text in modules.items() for finding in check_text(path, text))
    plan = await compiled(worker, modules, dict(sample.documents), DENY)
    findings = check_policy(plan, Sources(modules), input_shapes(), sample.shape)
    return tuple(sorted(set(findings)))


def plans(cases: Mapping[str, Mapping[str, bytes]]) -> dict[str, Plan]:
    """Return the compiled form of each policy's modules, by one worker."""

    async def run() -> dict[str, Plan]:
        worker = await WorkerProcess.start(memory_mb=1024)
        found = {}
        try:
            for name, content in cases.items():
                modules = {k: v.decode() for k, v in content.items() if k.endswith(".rego")}
                found[name] = await compiled(worker, modules, {}, DENY)
        finally:
            await worker.kill()
        return found

    return asyncio.run(run())


def member(subject: str = "ada", kind: Kind = "human", *groups: str) -> Member:
    """Return a member of the development issuer."""
    return Member(ISSUER, subject, kind, groups)


def principal(*chain: Member) -> Principal:
    """Return a principal: the first member is the subject, the others act for it."""
    subject, *actors = chain or (member(),)
    return Principal(subject=subject, kind=chain[-1].kind if chain else "human", actors=(*actors,))


def node(name: str, **fields: object) -> TaskNode:
    """Return a task whose family is its name."""
    key = digest({"name": name})
    base: dict[str, object] = {"module": "report", "task_id": name, "kind": "task"}
    more = {"parameters": {"day": "2026-11-22"}, **base, **fields}
    return TaskNode(key=key, family=name, **more)  # type: ignore[arg-type]


def graph(nodes: Iterable[TaskNode]) -> TaskGraph:
    """Return a graph of these tasks, without edges."""
    found = {item.key: item for item in nodes}
    return TaskGraph(
        root=next(reversed(found)),
        nodes=found,
        code_digest=digest("code"),
        digest=graph_digest(found),
    )
