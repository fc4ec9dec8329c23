"""The closed grammar: what the compiler writes is in it, every single change is not."""

from __future__ import annotations

import pytest

from gateway.errors import IntegrityViolation
from gateway.network.validate import check_policy
from tests.fixtures.network.mutations import BOTH, STRICTER, changed, port, sound


def test_network_sound_policy_passes() -> None:
    """The policy that the mutations start from is accepted, or they would prove nothing."""
    check_policy(sound())


@pytest.mark.parametrize("case", [*BOTH, *STRICTER])
def test_network_changed_policy_is_refused(case: str) -> None:
    """One change anywhere that matters is refused, and the message names a place."""
    change = BOTH[case] if case in BOTH else STRICTER[case][0]
    with pytest.raises(IntegrityViolation) as refused:
        check_policy(changed(change))
    assert refused.value.code == "policy_unsound"
    assert refused.value.step == "bind"


def test_network_place_is_named() -> None:
    """The place is the path in the manifest, so that it can be found in the YAML."""
    with pytest.raises(IntegrityViolation) as refused:
        check_policy(changed(lambda m: port(m).update(port="0443")))
    assert refused.value.field == "spec.egress[2].toPorts[0].ports[0].port"
    assert "is not a decimal number from 1 to 65535: '0443'" in refused.value.public_message
