"""Settings of the cluster that would undo a promise are refused before anything runs."""

import pytest

from gateway import settings
from gateway.errors import Misconfigured


@pytest.mark.parametrize("seconds", ["0", "-1"])
def test_pods_are_given_time_to_end(seconds: str) -> None:
    """No grace would mean that a pod is gone from the server while its process still runs."""
    with pytest.raises(Misconfigured, match=r"cluster\.stop_seconds"):
        settings.load(environ={"SLUICE_CLUSTER__STOP_SECONDS": seconds})


def test_a_second_to_end_in_is_enough() -> None:
    """The least that is taken."""
    found = settings.load(environ={"SLUICE_CLUSTER__STOP_SECONDS": "1"})
    assert found.cluster.stop_seconds == 1
