"""Settings: defaults < TOML file < ``SLUICE_*`` environment, parsed once into one frozen object.

Nested names are joined by two underscores: ``SLUICE_HTTP__PORT=8080`` sets ``[http] port``. An
unknown key stops the start with the nearest known key named. Secrets come from the environment or
from files. This is the only module that reads the environment.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import Misconfigured
from gateway.model import Kind

Environment = Literal["development", "production"]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Section):
    """Where the HTTP API listens, and what it refuses before reading further."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    max_body_bytes: int = Field(262_144, ge=1024, description="Largest request body.")
    decide_within_seconds: float = Field(
        10.0, gt=0, description="How long a launch request waits for its decision before 202."
    )
    stop_within_seconds: float = Field(
        10.0, gt=0, description="How long a graceful stop waits for requests under way."
    )


class IssuerSettings(Section):
    """One row of the table of issuers: who may sign tokens, and what those tokens mean."""

    issuer: str = Field(description="Exact value of the `iss` claim.")
    audience: str = Field("sluice", description="Exact value of the `aud` claim.")
    algorithms: tuple[str, ...] = Field(
        ("EdDSA", "ES256", "RS256"), min_length=1, description="Allowed `alg` headers."
    )
    types: tuple[str, ...] = Field(("at+jwt", "JWT"), description="Allowed `typ` headers.")
    jwks_url: str | None = Field(None, description="Remote key set; https, or http on loopback.")
    keys: tuple[dict[str, Any], ...] = Field((), description="Static public keys, as JWKs.")
    max_lifetime_seconds: int = Field(3600, ge=30, description="Longest `exp - iat`.")
    subject_kind: Kind = Field("human", description="Kind of a subject that no client narrows.")
    clients: dict[str, Kind] = Field(
        default_factory=dict, description="Kind of each `client_id` or `azp`."
    )
    other_clients: Literal["agent", "service", "reject"] = Field(
        "reject", description="Kind of a client that is not listed."
    )
    may_assert_actors: bool = Field(False, description="Whether `act` (RFC 8693) is believed.")
    groups_claim: str | None = Field(None, description="Claim that lists the subject's groups.")
    single_use: bool = Field(False, description="Whether each `jti` is accepted once only.")


class IdentitySettings(Section):
    """Whose tokens are believed."""

    issuers: tuple[IssuerSettings, ...] = Field((), description="Table of issuers; see below.")
    development_issuer: bool = Field(
        False, description="Trust tokens of `sluice token`; refused in production."
    )
    leeway_seconds: int = Field(30, ge=0, le=30, description="For clocks that differ.")


class AdmitSettings(Section):
    """Bounds on asking, before anything is resolved."""

    launches_per_minute: int = Field(60, ge=1, description="Per principal and chain.")
    idempotency_hours: int = Field(24, ge=1, description="How long a key is remembered.")


class SandboxSettings(Section):
    """Bounds on code that we did not write."""

    resolve_seconds: float = Field(20.0, gt=0, description="Wall clock for one resolve.")
    resolve_cpu_seconds: int = Field(15, ge=1, description="CPU time of one resolve.")
    resolve_memory_mb: int = Field(2048, ge=64, description="Address space of one resolve.")
    task_memory_mb: int = Field(4096, ge=64, description="Address space of one task.")
    task_cpu_seconds: int = Field(3600, ge=1, description="CPU time of one task.")
    max_file_mb: int = Field(1024, ge=1, description="Largest file that pipeline code may write.")
    max_processes: int = Field(256, ge=8, description="Processes of one sandbox.")
    max_nodes: int = Field(5000, ge=1, description="Largest graph, in tasks.")
    max_edges: int = Field(50_000, ge=1, description="Largest graph, in dependencies.")
    require_all_layers: bool = Field(
        False, description="Refuse to start when a layer is missing; always on in production."
    )


class PolicySettings(Section):
    """Where policy lives, and how long one question may take."""

    directory: Path = Field(Path("policies"), description="Rego, tests and data.")
    deadline_seconds: float = Field(5.0, gt=0, description="For one decision.")
    memory_mb: int = Field(1024, ge=64, description="Of the policy worker process.")
    reload_seconds: float = Field(1.0, gt=0, description="How often files are looked at.")


class LogSettings(Section):
    """The decision log."""

    origin: str = Field("sluice.local/log", description="Name of this log in its checkpoints.")
    append_within_seconds: float = Field(5.0, gt=0, description="Then: 503 outcome_unknown.")
    checkpoint_seconds: float = Field(
        1.0, gt=0, description="How often a checkpoint is signed while there is something new."
    )


class ApprovalSettings(Section):
    """Other people's agreement."""

    expire_minutes: int = Field(240, ge=1, description="An unused approval request expires.")
    recent_login_minutes: int = Field(60, ge=1, description="Oldest `auth_time` that approves.")


class RunSettings(Section):
    """How runs are driven."""

    parallel_tasks: int = Field(4, ge=1, description="Tasks at once in one run.")
    parallel_runs: int = Field(8, ge=1, description="Runs at once; others stay queued.")
    retry_count: int = Field(2, ge=1, description="Failures until Luigi disables a task.")
    retry_delay_seconds: float = Field(1.0, ge=0, description="Before a failed task runs again.")
    task_timeout_seconds: int = Field(0, ge=0, description="Luigi's worker timeout; 0 is none.")
    keep_log_bytes: int = Field(1_048_576, ge=1024, description="Of each task attempt.")


class ClusterSettings(Section):
    """The Kubernetes cluster whose pods run tasks; without it, tasks are local processes."""

    enabled: bool = Field(
        False, description="Run each task in a pod, with its Cilium policy in force first."
    )
    namespace: str = Field("sluice-tasks", description="Namespace of the tasks' pods.")
    kubeconfig: Path | None = Field(
        None, description="How to log in; without it, as the pod that the gateway is."
    )
    runner_token: Path | None = Field(
        None, description="File with the token of the account that may make pods."
    )
    binder_token: Path | None = Field(
        None, description="File with the token of the account that may write policies."
    )
    dns: Literal["kube-dns", "node-local-dns", "openshift"] = Field(
        "kube-dns", description="How the cluster's pods ask for names."
    )
    image: str = Field(
        "",
        pattern=r"^$|^[^@\s]+@sha256:[0-9a-f]{64}$",
        description="Image with Python and Luigi, `name@sha256:...`, of pipelines that name none.",
    )
    resolve_in_pods: bool = Field(
        False,
        description="Resolve every graph in a pod, where the gateway has no sandbox of its own.",
    )
    service_account: str = Field("sluice-task", description="Of the tasks' pods; without rights.")
    workspace_claim: str | None = Field(
        None, description="Volume claim for workspaces; without it each pod has its own."
    )
    pending_seconds: float = Field(600.0, gt=0, description="Until a pod that waits has failed.")
    pull_seconds: float = Field(
        60.0, ge=0, description="Until a pod whose image cannot be had has failed."
    )
    stop_seconds: int = Field(2, ge=1, description="Between SIGTERM and SIGKILL of a pod.")
    longest_seconds: int = Field(
        86_400, ge=60, description="Until the cluster itself ends a pod, should nobody else."
    )
    patience_seconds: float = Field(
        120.0, ge=0, description="How long an API server that is away is waited for."
    )
    valid_seconds: float = Field(
        30.0, gt=0, description="How long Cilium's verdict on a new policy is waited for."
    )
    require_valid: bool = Field(
        False, description="Refuse to bind where Cilium does not say whether a policy is valid."
    )
    new_profiles_per_day: int = Field(
        20, ge=1, description="New network profiles that one principal may cause."
    )
    keep_profile_seconds: float = Field(
        86_400.0, ge=0, description="Until the policy of a profile that nobody uses is deleted."
    )
    keep_code_seconds: float = Field(
        86_400.0,
        ge=600,  # with ``patience_seconds``: longer than from a delivery to the pod that mounts it
        description="Until code in the cluster that nobody uses is deleted.",
    )
    audit_seconds: float = Field(60.0, gt=0, description="How often policies are compared.")
    guard_seconds: float = Field(
        60.0, gt=0, description="How often a forbidden pod is tried, as a dry run."
    )
    canary: str = Field(
        "",
        pattern=r"^$|^.+:[0-9]{1,5}$",
        description="`host:port` that no task may reach; each pod shows first that it cannot.",
    )


class Settings(Section):
    """Everything that an operator can set."""

    environment: Environment = Field(
        "development", description="`production` refuses development stand-ins and missing layers."
    )
    state_dir: Path = Field(
        Path("state"), description="Folder of database, keys, code trees and workspaces."
    )
    pipelines_dir: Path = Field(
        Path(), description="Folder that `source` in the catalogue starts from."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Of the operator's log; `auto` is text on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of the operator's log."
    )
    http: HttpSettings = HttpSettings()
    identity: IdentitySettings = IdentitySettings()
    admit: AdmitSettings = AdmitSettings()
    sandbox: SandboxSettings = SandboxSettings()
    policy: PolicySettings = PolicySettings()
    log: LogSettings = LogSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    runs: RunSettings = RunSettings()
    cluster: ClusterSettings = ClusterSettings()

    @property
    def keys_dir(self) -> Path:
        """Where the secret keys are, mode 0700."""
        return self.state_dir.resolve() / "keys"

    @property
    def code_dir(self) -> Path:
        """Where pipeline trees are kept by their digest."""
        return self.state_dir.resolve() / "code"

    @property
    def database(self) -> Path:
        """The SQLite file that holds the log and everything that commits with it."""
        return self.state_dir.resolve() / "sluice.db"


CLIENT_VARIABLES = frozenset({"SLUICE_URL", "SLUICE_TOKEN", "SLUICE_CONFIG"})


def load(config: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Merge defaults, the TOML file and the environment.

    Raises ``Misconfigured`` naming the key, what is wrong with it, and the nearest known key.
    """
    env = os.environ if environ is None else environ
    path = config or (Path(env["SLUICE_CONFIG"]) if env.get("SLUICE_CONFIG") else None)
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise Misconfigured("config_unreadable", f"cannot read {path}: {error}") from error
    for name, text in env.items():
        if name.startswith("SLUICE_") and name not in CLIENT_VARIABLES:
            _set(values, name.removeprefix("SLUICE_").lower().split("__"), text, name)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise Misconfigured("config_invalid", _explain(error)) from error


def client_environment(environ: Mapping[str, str] | None = None) -> tuple[str, str | None]:
    """Return the URL and the token that the client commands use."""
    env = os.environ if environ is None else environ
    return env.get("SLUICE_URL", "http://127.0.0.1:8080"), env.get("SLUICE_TOKEN")


def known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Return every dotted key, for messages and for the test that holds the documentation."""
    keys: list[str] = []
    for name, item in model.model_fields.items():
        kind = item.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            keys += known_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _set(values: dict[str, Any], path: list[str], text: str, name: str) -> None:
    at = values
    for part in path[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise Misconfigured("config_invalid", f"{name} sets a key below a plain value")
    try:  # TOML literals for what is not text: true, 5, ["a"]
        at[path[-1]] = tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        at[path[-1]] = text


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        key = ".".join(str(part) for part in item["loc"])
        line = f"{key}: {item['msg']}"
        if item["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, known_keys(), 1, 0.3)
            line = f"{key}: no such setting" + (f"; did you mean {near[0]}?" if near else "")
        lines.append(line)
    return "; ".join(lines)
