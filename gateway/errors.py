"""Every error that a caller of the gateway can meet.

Classed by what the caller should do about it, not by where it happened::

    GatewayError
    ├── Rejected            the request is at fault: change it, then ask again
    │   ├── Unauthenticated     no valid credential (HTTP 401)
    │   ├── Forbidden           a valid credential without the right (HTTP 403)
    │   ├── NotFound            no such launch, pipeline, approval ... (HTTP 404)
    │   ├── Conflict            the thing is in another state than the request assumes (HTTP 409)
    │   ├── Unprocessable       well formed, and still not usable (HTTP 422)
    │   └── TooMany             a rate or a size is exceeded (HTTP 429)
    ├── Retryable           nothing wrong with the request: ask again, with the same key (HTTP 503)
    │   └── OutcomeUnknown      an append was not confirmed in time; it may still commit
    ├── Misconfigured       the operator has to change something before this can work
    └── IntegrityViolation  bytes are not what was decided, signed or logged: stop and look

A denial by policy is a ``Decision`` and never an exception. Client libraries' errors are wrapped
where the library is called. Only surfaces turn these into HTTP answers or sentences for a terminal.

``public_message`` is shown to the requester and holds neither secrets nor internals;
``diagnostics`` is for the operator's log alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

Step = Literal[
    "authenticate", "admit", "resolve", "decide", "record", "approve", "bind", "run", "observe"
]


class GatewayError(Exception):
    """The root: a stable ``code``, the ``step`` it belongs to, and two texts for two readers."""

    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        code: str,
        public_message: str,
        *,
        step: Step | None = None,
        field: str | None = None,
        diagnostics: str = "",
        retry_after: int | None = None,
    ) -> None:
        """Keep what a surface needs to answer: see the module's docstring for the two texts."""
        super().__init__(public_message)
        self.code = code
        self.public_message = public_message
        self.step = step
        self.field = field
        self.diagnostics = diagnostics
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f" ({self.field})" if self.field else ""
        more = f" [{self.diagnostics}]" if self.diagnostics else ""
        return f"{self.code}{where}: {self.public_message}{more}"


class Rejected(GatewayError):
    """The request is at fault; the same request will be rejected again."""

    status = 400


class Unauthenticated(Rejected):
    """No principal could be made of the credential; ``code`` says why and nothing more does."""

    status = 401


class Forbidden(Rejected):
    """The principal is known and lacks the right."""

    status = 403


class NotFound(Rejected):
    """The thing does not exist, or the principal may not know that it does."""

    status = 404


class Conflict(Rejected):
    """The thing is in another state than the request assumes."""

    status = 409


class Unprocessable(Rejected):
    """Well formed and still unusable: an unknown parameter, a graph that cannot be resolved."""

    status = 422


class TooMany(Rejected):
    """A rate or a count is exceeded; ``retry_after`` says when to come back, in seconds."""

    status = 429
    retryable = True


class Retryable(GatewayError):
    """Nothing is wrong with the request: a part of the gateway cannot serve it now."""

    status = 503
    retryable = True


class OutcomeUnknown(Retryable):
    """An append was not confirmed within its bound. Retry with the same idempotency key."""


class Misconfigured(GatewayError):
    """The operator has to change something: a setting, a policy file, a missing sandbox layer."""


class IntegrityViolation(GatewayError):
    """Bytes differ from what was decided, signed or logged. Nothing may be done with them."""
