"""The closed table of what can happen: event name -> stable code.

People search for the names; alerts match the codes, which outlive any renaming. The last letter
says how loud an event is: ``I`` information, ``W`` somebody was refused or something is unsafe,
``E`` the gateway itself could not go on. A code is never used again for another event.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CODES: Mapping[str, str] = MappingProxyType(
    {
        # launches and their decisions
        "launch.received": "SLC1001I",
        "plan.decided": "SLC1002I",
        "decision.allow": "SLC1003I",
        "decision.deny": "SLC1004W",
        "decision.needs_approval": "SLC1005I",
        "launch.queued": "SLC1006I",
        "launch.binding": "SLC1007I",
        "launch.cancelling": "SLC1008I",
        "launch.cancelled": "SLC1009I",
        "launch.abandoned": "SLC1010W",
        "launch.resolving": "SLC1011I",  # in a pod; it stands before the pod
        "launch.cut": "SLC1012W",
        "launch.postponed": "SLC1013W",  # it may run, and the cluster cannot take it now
        # approvals
        "approval.requested": "SLC2001I",
        "approval.granted": "SLC2002I",
        "approval.rejected": "SLC2003I",
        "approval.refused": "SLC2004W",  # somebody tried and may not
        "approval.expired": "SLC2005I",
        "approval.void": "SLC2006W",
        # runs
        "run.started": "SLC3001I",
        "run.finished": "SLC3002I",
        "run.recovered": "SLC3003W",
        "task.started": "SLC3004I",
        "task.finished": "SLC3005I",
        "task.refused": "SLC3006W",  # it yielded a task outside the decided graph
        "task.yielded": "SLC3007I",  # it yielded tasks that were decided as possible
        # the cluster
        "network.bound": "SLC6001I",  # it stands before the launch's first pod
        "network.audit": "SLC6002W",
        "network.collected": "SLC6003I",
        "guardrails.open": "SLC6004E",
        "guardrails.hold": "SLC6005I",
        "pod.stranger": "SLC6006W",
        "pod.orphan": "SLC6007W",
        # policy
        "policy.loaded": "SLC4001I",
        "policy.refused": "SLC4002E",
        # the gateway and who may ask
        "gateway.started": "SLC5001I",
        "gateway.stopped": "SLC5002I",
        "enforcement.unsafe": "SLC5003W",
        "admission.refused": "SLC5004W",
        "authentication.refused": "SLC5005W",
    }
)


def code(event: str) -> str:
    """Return the code of ``event``. Raises ``ValueError`` for an event that the table lacks."""
    try:
        return CODES[event]
    except KeyError:
        raise ValueError(f"no such event: {event!r} (gateway/decisionlog/events.py)") from None
