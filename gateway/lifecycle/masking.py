"""Which parameter values people may see: an allow-list, and a keyed digest for everything else."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from gateway.canonical import keyed

MASK = "hmac-sha256:"


def masked(
    key: bytes, pipeline: str, parameters: Mapping[str, str], shown: Collection[str]
) -> dict[str, str]:
    """Return ``parameters`` with every value that is not allow-listed replaced by its HMAC.

    The HMAC is keyed by the installation, so that a value of low entropy cannot be guessed from
    the log.
    """
    return {
        name: value
        if name in shown
        else MASK + keyed(key, {"pipeline": pipeline, "name": name, "value": value})
        for name, value in parameters.items()
    }
