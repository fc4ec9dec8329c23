"""What the HTTP API takes and gives: the models that validate are the ones that document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    model_validator,
)

_NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_LAUNCH_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_PARAMETER = r"^[A-Za-z_][A-Za-z0-9_]{0,63}$"


def _as_text(value: object) -> object:
    """Write JSON scalars the way Luigi's parsers read them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else value


ParameterName = Annotated[str, Field(pattern=_PARAMETER)]
ParameterText = Annotated[str, BeforeValidator(_as_text), Field(max_length=4096)]


class Model(BaseModel):
    """Frozen, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LaunchBody(Model):
    """A request to launch, or to plan, a pipeline of the catalogue."""

    pipeline: Annotated[StrictStr, Field(pattern=_NAME, examples=["city-weather"])]
    parameters: Annotated[dict[ParameterName, ParameterText], Field(max_length=64)] = Field(
        default_factory=dict,
        description="Luigi parameters of the root task, as texts; integers and booleans are taken.",
        examples=[{"month": "2012-03"}],
    )
    reason: Annotated[StrictStr, Field(max_length=1000)] = Field(
        "", description="Why: shown to approvers and kept in the decision log."
    )


class AnswerBody(Model):
    """One person's answer to a launch that waits for approval."""

    verdict: Literal["approve", "reject"]
    plan_digest: Annotated[StrictStr, Field(pattern=r"^[0-9a-f]{64}$")]
    comment: Annotated[StrictStr, Field(max_length=1000)] = ""


class StopBody(Model):
    """What to stop, and how: a launch, or all of an account or of a pipeline."""

    kind: Literal["cut"] = Field(description="`cut`: take the network away first, then end tasks.")
    launch_id: Annotated[StrictStr, Field(pattern=_LAUNCH_ID)] | None = None
    principal: Annotated[StrictStr, Field(min_length=1, max_length=1000)] | None = Field(
        None,
        description="Account as `issuer#subject`, wherever it stands in a launch's actor chain.",
        examples=["https://id.example#ada"],
    )
    pipeline: Annotated[StrictStr, Field(pattern=_NAME)] | None = None
    reason: Annotated[StrictStr, Field(max_length=1000)] = Field(
        "", description="Kept in the decision log."
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if sum(item is not None for item in (self.launch_id, self.principal, self.pipeline)) != 1:
            raise ValueError("name exactly one of launch_id, principal and pipeline")
        return self


class ViolationView(Model):
    """One reason for a denial, and what would change it."""

    rule: str
    message: str
    remediation: str
    task: str | None = Field(None, description="Key of the task that the rule refused.")
    task_name: str | None = None
    member: str | None = Field(None, description="Account in the actor chain that was refused.")
    values: dict[str, Any] = Field(default_factory=dict)


class NeedView(Model):
    """One rule that sends the launch to people."""

    rule: str
    message: str
    groups: list[str]
    values: dict[str, Any] = Field(default_factory=dict)


class PolicyView(Model):
    """Which policy decided."""

    revision: str
    rego_digest: str
    data_digest: str


class DecisionView(Model):
    """What policy said."""

    id: str
    verdict: Literal["allow", "deny", "needs_approval"]
    policy: PolicyView
    violations: list[ViolationView]
    needs: list[NeedView]


class PlanView(Model):
    """Exactly what runs; people approve ``plan_digest``."""

    launch_id: str
    pipeline: str
    parameters: dict[str, str]
    graph_digest: str
    code_digest: str
    profiles: list[str]
    reach: dict[str, str]
    services: dict[str, dict[str, Any]]
    images: list[str]
    pod: dict[str, Any] | None
    enforcement: str
    policy_revision: str
    expires_at: str
    content_digest: str
    plan_digest: str


class TaskView(Model):
    """One task of a launch."""

    key: str
    family: str
    kind: Literal["task", "wrapper", "external", "possible"]
    parameters: dict[str, str]
    egress: list[str]
    carries: list[str]
    deps: list[str]
    state: str = "pending"
    attempt: int = 0
    explanation: str = ""
    outputs: list[str] = Field(default_factory=list)


class PlanAnswer(Model):
    """The answer of a dry run: what a launch would be told."""

    decision: DecisionView
    plan: PlanView | None
    tasks: list[TaskView]


class LaunchView(Model):
    """A launch and where it stands."""

    id: str
    state: str
    pipeline: str
    parameters: dict[str, str] = Field(description="Values off the allow-list are keyed digests.")
    reason: str
    surface: str
    requested_by: dict[str, Any]
    created_at: str
    updated_at: str
    enforcement: str = Field(description="What enforces network policy; `none` locally.")
    warning: str = ""
    decision: DecisionView | None
    plan: PlanView | None
    outcome: str
    outputs: list[str]
    task_counts: dict[str, int]


class LaunchDetail(LaunchView):
    """A launch with its tasks."""

    tasks: list[TaskView]


class Launches(Model):
    """Newest first."""

    launches: list[LaunchView]


class CutView(Model):
    """What a cut did to one launch."""

    launch_id: str
    tasks: int = Field(description="How many tasks lost their network.")
    seconds: float = Field(description="From the command to the last of them.")
    state: str = Field(description="`unknown` while the store cannot be read.")
    logged: bool = Field(description="`false`: kept in the gateway's journal, and logged later.")
    note: str = Field("", description="What an operator should know besides.")


class StopAnswer(Model):
    """What was stopped: every task counted here has no network any more."""

    kind: Literal["cut"]
    launches: list[CutView]
    seconds: float
    warning: str = ""


class ApprovalView(Model):
    """One launch that waits for people."""

    launch_id: str
    pipeline: str
    requested_by: dict[str, Any]
    reason: str
    plan_digest: str
    needs: list[NeedView]
    missing: list[str] = Field(description="Rules that nobody has agreed to yet.")
    expires_at: str


class Approvals(Model):
    """What waits for the caller, the first to expire first."""

    approvals: list[ApprovalView]


class ParameterView(Model):
    """One parameter of a pipeline."""

    name: str
    type: str
    description: str
    shown: bool = Field(description="Whether its value may appear in log and pages.")
    default: str | None = None
    choices: list[str] | None = None


class PipelineView(Model):
    """One pipeline of the catalogue."""

    name: str
    title: str
    description: str
    tier: str
    destinations: list[str]
    agents_allowed: bool
    parameters: list[ParameterView]


class Pipelines(Model):
    """The catalogue."""

    pipelines: list[PipelineView]


class LogEntryView(Model):
    """One entry of the decision log: ``entry`` parsed, ``bytes`` exactly as hashed."""

    seq: int
    leaf_hash: str
    bytes: str
    entry: dict[str, Any]


class LogEntries(Model):
    """A page of the log."""

    entries: list[LogEntryView]
    size: StrictInt


class Checkpoint(Model):
    """The newest signed checkpoint (C2SP tlog-checkpoint) and the key that verifies it."""

    checkpoint: str | None
    public_key: str


class Proof(Model):
    """A Merkle proof (RFC 9162 section 2.1): hexadecimal hashes, leaf side first."""

    hashes: list[str]
    root: str


class Problem(BaseModel):
    """RFC 9457 problem details, with what a program needs to act on the refusal."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    step: str | None = None
    field: str | None = None
    retryable: bool = False
    launch_id: str | None = None
    decision_id: str | None = None
    policy_revision: str | None = None
    violations: list[ViolationView] = Field(default_factory=list)


class Health(Model):
    """Alive."""

    status: Literal["ok"]


class Readiness(Model):
    """Whether requests can be served, and what is not ready."""

    ready: bool
    checks: dict[str, str] = Field(description="`ok`, or what is wrong.")
    layers: dict[str, bool] = Field(description="Sandbox layers in force on this machine.")
    environment: str
    enforcement: str
    policy_revision: str
    log_size: int
