"""Step 2: size, rate, idempotency, and the policy's first word, before anything is executed.

What leaves here is a launch that is durable in state ``received``, or ``denied`` already, or the
launch that the same idempotency key made before. Nothing of the pipeline has run.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from sqlite3 import Connection

from gateway.canonical import Json, keyed
from gateway.clock import new_id, rfc3339
from gateway.decisionlog.log import Entry
from gateway.errors import TooMany
from gateway.lifecycle.decision import decision_entry, decision_json, read_history
from gateway.lifecycle.masking import masked
from gateway.lifecycle.parts import Parts
from gateway.model import Decision, LaunchRequest, Principal
from gateway.policy.decide import LoadedPolicy
from gateway.policy.inputs import policy_input, shown_parameters
from gateway.states import LaunchState
from gateway.store import launches
from gateway.store.launches import LaunchRecord

ROUTE = "POST /v1/launches"
_MINUTE = 60.0


class RateWindow:
    """At most ``limit`` requests a minute for each key; keys that fall silent are forgotten."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` counts seconds."""
        self._limit = limit
        self._clock = clock
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, key: str) -> None:
        """Count one request. Raises ``TooMany`` with the seconds until the next is allowed."""
        now = self._clock()
        times = self._seen.setdefault(key, deque())
        self._seen.move_to_end(key)
        while times and times[0] <= now - _MINUTE:
            times.popleft()
        if len(times) >= self._limit:
            wait = int(times[0] + _MINUTE - now) + 1
            raise TooMany(
                "rate_exceeded",
                f"more than {self._limit} requests a minute; come back in {wait} s",
                step="admit",
                retry_after=wait,
            )
        times.append(now)
        while (oldest := next(iter(self._seen))) != key:
            last = self._seen[oldest]
            if last and last[-1] > now - _MINUTE:
                break
            del self._seen[oldest]


class Admission:
    """Turns an authenticated request into a durable launch."""

    def __init__(self, parts: Parts) -> None:
        """Rates are counted in this process."""
        self._parts = parts
        self._rates = RateWindow(parts.settings.admit.launches_per_minute)

    def count(self, principal: Principal) -> None:
        """Count one request of this principal. Raises ``TooMany``."""
        self._rates.take(principal.key)

    async def known(
        self, principal: Principal, request: LaunchRequest, key: str | None
    ) -> LaunchRecord | None:
        """Return the launch that this idempotency key made before, if it did."""
        if key is None:
            return None
        scope, mac = self._scope(principal, key), self._body(request)
        now = rfc3339(self._parts.clock())

        def find(connection: Connection) -> LaunchRecord | None:
            launch_id = launches.claimed(connection, scope, mac, now)
            return launches.get(connection, launch_id) if launch_id else None

        return await self._parts.database.read(find)

    async def admit(
        self,
        policy: LoadedPolicy,
        principal: Principal,
        request: LaunchRequest,
        key: str | None,
    ) -> LaunchRecord:
        """Ask ``sluice.admit`` and make the launch durable with what policy said.

        Returns the launch of a concurrent request with the same key, where that one was first.
        """
        parts = self._parts
        decision, facts = await self.first_word(policy, principal, request)
        record = self.draft(policy, principal, request)
        denied = decision.verdict == "deny"
        received = Entry(
            event="launch.received",
            launch_id=record.id,
            requested_by=principal.to_json(),
            body={
                "pipeline": record.pipeline,
                "parameters": dict(record.parameters),
                "reason": record.reason,
                "surface": record.surface,
            },
        )
        entries = [received]
        if denied:
            entries.append(decision_entry(decision, record, facts=facts))
        now = record.created_at
        until = rfc3339(parts.clock() + timedelta(hours=parts.settings.admit.idempotency_hours))
        scope, body = self._scope(principal, key or ""), self._body(request)

        def change(connection: Connection, seq: int) -> None:
            if key is not None:
                owner = launches.claim_key(connection, scope, body, record.id, now, until)
                if owner != record.id:
                    raise _TakenError(owner)
            launches.insert(connection, record)
            if denied:
                launches.transition(
                    connection,
                    record.id,
                    LaunchState.DENIED,
                    now,
                    decision=decision_json(decision),
                    decision_seq=seq + 1,
                )

        launch_id = record.id
        try:
            await parts.log.append_all(entries, change=change)
        except _TakenError as taken:
            launch_id = taken.launch_id
        return await parts.database.read(partial(launches.get, launch_id=launch_id))

    async def first_word(
        self, policy: LoadedPolicy, principal: Principal, request: LaunchRequest
    ) -> tuple[Decision, dict[str, Json]]:
        """Ask ``sluice.admit``; return its decision and the facts it saw."""
        data = policy.snapshot.data
        history = await read_history(self._parts, principal, request.pipeline)
        now = rfc3339(self._parts.clock())
        enforcement = self._parts.binder.enforcement
        decision = await policy.admit(
            principal, request, history=history, now=now, enforcement=enforcement
        )
        pipeline = data.pipelines.get(request.pipeline)
        if pipeline is None:
            return decision, {"history": history, "time": now}
        facts = policy_input(
            data,
            principal,
            request,
            parameters=shown_parameters(pipeline, request.parameters),
            history=history,
            now=now,
            enforcement=enforcement,
        )
        return decision, facts

    def draft(
        self, policy: LoadedPolicy, principal: Principal, request: LaunchRequest
    ) -> LaunchRecord:
        """Return a launch in state ``received`` that is not stored yet, parameters masked."""
        parts = self._parts
        pipeline = policy.snapshot.data.pipelines.get(request.pipeline)
        shown = pipeline.shown if pipeline else frozenset()
        now = rfc3339(parts.clock())
        return LaunchRecord(
            id=new_id(),
            state=LaunchState.RECEIVED,
            pipeline=request.pipeline,
            parameters=masked(parts.keys.installation, request.pipeline, request.parameters, shown),
            reason=request.reason,
            surface=request.surface,
            principal=principal,
            created_at=now,
            updated_at=now,
            enforcement=parts.binder.enforcement,
        )

    def _scope(self, principal: Principal, key: str) -> str:
        """Scope a key by issuer, subject, chain and route: one requester's key is not another's."""
        return keyed(self._parts.keys.installation, [ROUTE, principal.key, key])

    def _body(self, request: LaunchRequest) -> str:
        return keyed(
            self._parts.keys.installation,
            [request.pipeline, dict(request.parameters), request.reason],
        )


class _TakenError(Exception):
    """Another request with the same idempotency key committed first."""

    def __init__(self, launch_id: str) -> None:
        super().__init__(launch_id)
        self.launch_id = launch_id
