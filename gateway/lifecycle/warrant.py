"""What the log proves about a launch: a run starts from the log's word and never from a row.

The decision's entry and every approval's are read back, their MACs checked, and the graph's bytes
compared with the digest in the entry. A password to the database is not enough to run anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gateway.decisionlog.log import LogEntry
from gateway.errors import IntegrityViolation
from gateway.lifecycle.parts import Parts
from gateway.model import Principal, Receipt, TaskGraph, graph_digest
from gateway.store import launches
from gateway.store.launches import LaunchRecord, principal_from_json

ENDS = (
    "run.finished",
    "launch.cancelled",
    "approval.rejected",
    "approval.expired",
    "approval.void",
)
"""After one of these a launch never runs (again), whatever its row says."""


@dataclass(frozen=True, slots=True)
class Warrant:
    """What the log proves about a launch: enough to run it, all from authentic entries."""

    launch_id: str
    decision_id: str
    principal: Principal
    plan: Mapping[str, Any]
    graph: TaskGraph
    receipt: Receipt
    needs: tuple[Mapping[str, Any], ...] = ()  # that people had to agree to
    approvals: tuple[Mapping[str, Any], ...] = ()  # bodies of the entries by which they did

    @property
    def covered(self) -> set[str]:
        """The rules to which people agreed."""
        return {rule for body in self.approvals for rule in body["rules"]}


class Warrants:
    """Reads warrants from the log."""

    def __init__(self, parts: Parts) -> None:
        """``parts`` gives log, store and keys."""
        self._parts = parts

    async def read(self, record: LaunchRecord) -> Warrant:
        """Read back what allows this launch to run. Raises ``IntegrityViolation``."""
        warrant = await self.asked(record)
        for prefix in ENDS:
            if await self._parts.log.entries(
                warrant.receipt.seq, 1, launch_id=record.id, event_prefix=prefix
            ):
                raise _forged(f"the log says that the launch has ended: {prefix}")
        approvals = await self._approvals(record, warrant.plan["plan_digest"])
        warrant = replace(warrant, approvals=approvals)
        if missing := {need["rule"] for need in warrant.needs} - warrant.covered:
            raise _forged(f"the log holds no approval for {', '.join(sorted(missing))}")
        return warrant

    async def asked(self, record: LaunchRecord) -> Warrant:
        """Read back who asked for what, and what was decided, from the log and never from the row.

        Raises ``IntegrityViolation`` when the log holds no such decision, or a denial.
        """
        parts = self._parts
        if record.decision_seq is None:
            raise _forged("the launch has no decision")
        receipt = await parts.log.receipt(record.decision_seq)
        value = (await parts.log.authentic(receipt)).value
        if value["launch_id"] != record.id:
            raise _forged("the decision is about another launch")
        if value["event"] not in ("decision.allow", "decision.needs_approval"):
            raise _forged("the decision does not allow the launch")
        plan, graph = value["body"]["plan"], value["body"]["graph"]
        stored = await parts.database.read(partial(launches.get_graph, ref=graph["ref"]))
        if graph_digest(stored.nodes) != plan["graph_digest"]:
            raise _forged("the graph is not the one that was decided")
        data = await parts.database.read(partial(launches.get_sealed, launch_id=record.id))
        sealed: Any = parts.keys.unseal(data, record.id) if data else {}
        return Warrant(
            launch_id=record.id,
            decision_id=value["decision_id"],
            principal=principal_from_json(value["requested_by"]),
            plan=plan,
            graph=replace(stored, code_digest=plan["code_digest"], sealed=sealed),
            receipt=receipt,
            needs=tuple(value["body"]["result"]["needs"]),
        )

    async def _approvals(
        self, record: LaunchRecord, plan_digest: str
    ) -> tuple[Mapping[str, Any], ...]:
        found = []
        for seq in record.approval_seqs:
            entry = await self._parts.log.authentic(await self._parts.log.receipt(seq))
            if _is_approval(entry, record.id, plan_digest):
                found.append(entry.value["body"])
        return tuple(found)


def _is_approval(entry: LogEntry, launch_id: str, plan_digest: str) -> bool:
    return bool(
        entry.value["event"] == "approval.granted"
        and entry.value["launch_id"] == launch_id
        and entry.value["body"]["plan_digest"] == plan_digest
    )


def _forged(message: str) -> IntegrityViolation:
    return IntegrityViolation("warrant_invalid", message, step="run")
