"""What a pipeline's pods may have beyond the network: CPU, memory, named secrets, named volumes.

Security lists secrets and volumes in ``policies/data/pods.yaml``, each for the pipelines that may
use it; a pipeline asks for them by name. Made only by ``catalogue.py``, which has checked that
every ask is granted. No value of a secret is ever here: only where the cluster keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.canonical import Json
from gateway.policy.quantities import memory_bytes, millicores

CPU = "500m"  # of a pod whose pipeline does not say
MEMORY = "1Gi"
MAX_CPU = "2"  # of a tier that does not say
MAX_MEMORY = "4Gi"


@dataclass(frozen=True, slots=True)
class SecretUse:
    """One key of a Secret in the tasks' namespace, and the variable that a task finds it in."""

    name: str  # what pipelines call it
    secret: str
    key: str
    env: str
    pipelines: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return where the value is kept and goes, for rules and for the log."""
        return {"name": self.name, "secret": self.secret, "key": self.key, "env": self.env}


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """One PersistentVolumeClaim in the tasks' namespace, always mounted read-only.

    Read-only, so that nothing can be parked there and lose its class on the way to another launch.
    """

    name: str  # what pipelines call it
    claim: str
    mount: str  # below /data
    pipelines: tuple[str, ...]
    classes: tuple[str, ...]  # what it holds: every task of the pipeline counts as having read it

    def to_json(self) -> dict[str, Json]:
        """Return what is mounted where, for rules and for the log."""
        return {
            "name": self.name,
            "claim": self.claim,
            "mount": self.mount,
            "classes": list(self.classes),
        }


@dataclass(frozen=True, slots=True)
class PodAllowances:
    """All secrets and volumes that some pipeline may ask for, by name."""

    secrets: Mapping[str, SecretUse] = field(default_factory=dict)
    volumes: Mapping[str, VolumeUse] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PodAsk:
    """What each pod of one pipeline gets. Request and limit are the same."""

    cpu: str = CPU  # Kubernetes quantities, as the API server spells them
    memory: str = MEMORY
    secrets: tuple[SecretUse, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """What the volumes hold, sorted."""
        return tuple(sorted({name for volume in self.volumes for name in volume.classes}))

    def to_json(self) -> dict[str, Json]:
        """Return the form of ``input.pipeline.pod``, with amounts that rules can compare."""
        return {
            "cpu": self.cpu,
            "millicores": millicores(self.cpu),
            "memory": self.memory,
            "memory_bytes": memory_bytes(self.memory),
            "secrets": [secret.to_json() for secret in self.secrets],
            "volumes": [volume.to_json() for volume in self.volumes],
        }
