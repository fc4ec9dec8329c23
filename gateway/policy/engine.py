"""The seam of policy engines: questions in, what the rules say out.

Two implementations are meant: Rego in a worker process (``rego.py``), and an OPA server. An engine
is bound to one snapshot. It must never answer when it is not sure: whatever goes wrong is an error,
and an error allows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from gateway.canonical import Json

Package = Literal["admit", "task", "launch"]


@dataclass(frozen=True, slots=True)
class Question:
    """One package asked about ``shared`` joined with each of ``parts``: one answer for each part.

    Together they are ``input``; no field stands in both.
    """

    package: Package
    shared: Mapping[str, Json]
    parts: Sequence[Mapping[str, Json]] = ({},)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the rules of one package said about one input: lists, as yet unchecked inside."""

    deny: Sequence[Any]
    needs_approval: Sequence[Any]


class PolicyEngine(Protocol):
    """Evaluates the rules of one snapshot."""

    async def evaluate(self, questions: Sequence[Question]) -> list[list[Answer]]:
        """Answer all questions within one deadline: for each, the answers of its parts, in order.

        Raises ``Retryable`` (``policy_timeout``, ``policy_unavailable``) when there is no answer,
        and ``Misconfigured`` (``policy_error``) when the policy itself is at fault.
        """
        ...

    async def close(self) -> None:
        """Give back what the engine holds. It is not asked again."""
        ...
