"""Cilium's own opinion of a policy, from the ``cilium-oracle`` process.

One process answers thousands of policies a second, so keep it for a whole test session. It needs no
cluster.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Opinion:
    """Whether Cilium's agent would take a policy, and what it says when not."""

    ok: bool
    error: str


class PolicyOracle:
    """A running oracle; a context manager."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.__exit__(kind, error, trace)

    def ask(self, policy: dict[str, Any]) -> Opinion:
        """Ask about one CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy, whole.

        Raises EOFError when the oracle has died.
        """
        self._questions.write(json.dumps(policy) + "\n")
        self._questions.flush()
        if not (line := self._answers.readline()):
            raise EOFError(f"the oracle ended with status {self._process.wait()}")
        return Opinion(**json.loads(line))

    def ask_all(self, policies: Iterable[dict[str, Any]]) -> list[Opinion]:
        """Ask about several, one after the other."""
        return [self.ask(policy) for policy in policies]
