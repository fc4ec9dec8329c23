"""What Prometheus scrapes. Labels are closed sets: never a name that a requester chose."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry, owned by the application."""

    def __init__(self) -> None:
        """Register every series."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sluice_http_requests_total",
            "HTTP requests by route and status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "sluice_http_request_seconds",
            "Time to answer, by route; event streams are not counted.",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.cut_seconds = Histogram(
            "sluice_cut_seconds",
            "From the command to cut a launch to the last of its tasks that lost its network.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.launches = Gauge(
            "sluice_launches", "Launches by state.", ("state",), registry=self.registry
        )
        self.log_size = Gauge(
            "sluice_log_entries", "Entries of the decision log.", registry=self.registry
        )
        self.checkpoint_size = Gauge(
            "sluice_log_checkpoint_entries",
            "Entries covered by the newest signed checkpoint.",
            registry=self.registry,
        )
        self.policy_refused = Gauge(
            "sluice_policy_refused",
            "1 while the files in the policy folder are refused and an older policy is in force.",
            registry=self.registry,
        )
        self.cluster_alarm = Gauge(
            "sluice_cluster_alarm",
            "1 while something is wrong with the cluster, by what; /readyz has it in words.",
            ("what",),
            registry=self.registry,
        )

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)
