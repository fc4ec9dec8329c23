"""The names by which a cluster's objects are recognised as ours, and what each may be worn by.

The label is the only one that a task's pod wears: every set of labels is a Cilium identity of its
own, of which a cluster has 65,535. Everything that differs from run to run is an annotation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

PROFILE_LABEL = "sluice/profile"
CUT = "cut"  # the label's value on a pod whose network was taken away
LAUNCH_ID = "sluice/launch-id"
TASK = "sluice/task"
DECISION_ID = "sluice/decision-id"
PLAN_DIGEST = "sluice/plan-digest"
EXPLAINED = (LAUNCH_ID, TASK, DECISION_ID, PLAN_DIGEST)  # on every pod
FIELD_MANAGER = "sluice"
PROBE = "probe"  # in the place of a task, on a pod that asks what is complete
RESOLVE = "resolve"  # the same, on a pod that resolves a graph

_KEY_DIGITS = 24  # of the task's key: 96 bits, which nobody makes two tasks share
_PAYLOAD_DIGITS = 32  # of a ConfigMap's content: 128 bits
_CODE = re.compile(rf"sluice-code-[0-9a-f]{{{_PAYLOAD_DIGITS}}}")
_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-z]{1,24})-([0-9]{1,9})")


def pod_name(launch_id: str, task: str, attempt: int) -> str:
    """Return the name of an attempt's pod: the same attempt has the same name, after a crash too.

    ``task`` is a node's key, or a word for what is no task of the graph (``probe``, ``resolve``).
    At most 63 characters, so that the host name is not cut either.
    """
    return f"{launch_id.replace('-', '')}-{task[:_KEY_DIGITS]}-{attempt}"


def is_pod_name(name: str, annotations: Mapping[str, str]) -> bool:
    """Whether a pod's name is the one that its own annotations make it have."""
    found = _NAME.fullmatch(name)
    return bool(
        found
        and found[1] == annotations.get(LAUNCH_ID, "").replace("-", "")
        and found[2] == annotations.get(TASK, "")[:_KEY_DIGITS]
    )


def payload_name(kind: Literal["guest", "code"], digest: str) -> str:
    """Return the name of the ConfigMap of an entry point or of a pipeline's code.

    ``digest`` is the SHA-256 of what it holds, in hexadecimal.
    """
    return f"sluice-{kind}-{digest[:_PAYLOAD_DIGITS]}"


def is_code_name(name: str) -> bool:
    """Whether a ConfigMap has a name that the gateway gives to a pipeline's code."""
    return _CODE.fullmatch(name) is not None
