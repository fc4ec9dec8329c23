"""A stored profile is read back whole, or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from gateway.canonical import digest, encode
from gateway.errors import IntegrityViolation, Misconfigured, Unprocessable
from gateway.network.cilium import policy
from gateway.network.dns import OPENSHIFT
from gateway.network.profile_form import form, read_form
from gateway.network.profiles import profile
from gateway.network.sites import EMBEDDED, Site
from tests.fixtures.network.mutations import _CATALOGUE as EVERY_KIND
from tests.fixtures.network.strategies import CATALOGUES, SITES, Entry


@settings(max_examples=40, deadline=None)
@given(CATALOGUES, SITES)
def test_network_form_is_read_back(catalogue: dict[str, Entry], site: Site) -> None:
    """Whatever the compiler takes comes back as the same profile, and gives the same policy."""
    try:
        made = profile(catalogue, catalogue, site)
        wanted = policy(made)
    except (Misconfigured, Unprocessable):
        assume(False)
        raise
    found = read_form(made.name, form(made), site)
    assert found == replace(made, destinations=())
    assert policy(found) == wanted


def test_network_form_of_every_kind() -> None:
    """Each kind of peer survives, service account and exceptions included."""
    made = profile(EVERY_KIND, EVERY_KIND)
    assert read_form(made.name, form(made), EMBEDDED) == replace(made, destinations=())


def test_network_form_of_another_site_is_not_ours() -> None:
    """Another namespace, another DNS or another generator: nobody here knows its policy."""
    made = profile(EVERY_KIND, EVERY_KIND)
    assert read_form(made.name, form(made), Site("elsewhere")) is None
    assert read_form(made.name, form(made), Site(dns=OPENSHIFT)) is None
    value: Any = {**made.canonical, "generator": 1}
    text = encode(value).decode()
    assert read_form(f"p-{digest(value)[:32]}", text, EMBEDDED) is None


@pytest.mark.parametrize(
    "change",
    [
        {"rules": []},
        {"rules": [{"peer": {"name": "a.example"}}]},
        {"rules": [{"peer": {"world": True}, "protocol": "TCP", "ports": [], "server_names": []}]},
        {"rules": None},
        {"dns_names": ["evil.example"]},
        {"more": 1},
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_network_form_that_was_bent_is_refused(change: dict[str, Any], named: bool) -> None:
    """Under the old name nothing but the old content is believed.

    Under a name of its own, a form is believed when the compiler could have made it, since then
    it is that profile; the policy's own grammar judges what comes of it.
    """
    made = profile(EVERY_KIND, EVERY_KIND)
    value: Any = {**made.canonical, **change}
    name = made.name if not named else f"p-{digest(value)[:32]}"
    believable = named and (change.get("rules") == [] or "dns_names" in change)
    if believable:
        assert read_form(name, encode(value).decode(), EMBEDDED) is not None
        return
    with pytest.raises(IntegrityViolation) as error:
        read_form(name, encode(value).decode(), EMBEDDED)
    assert error.value.code == "profile_forged"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"generator": 2}', "not json"])
def test_network_form_that_is_none_is_refused(text: str) -> None:
    """Text that is no form at all is refused like a bent one, whatever it is called."""
    name = f"p-{digest(text)[:32]}"
    with pytest.raises(IntegrityViolation):
        read_form(name, text, EMBEDDED)
    try:
        name = f"p-{digest(json.loads(text))[:32]}"
    except ValueError:
        return
    with pytest.raises(IntegrityViolation):
        read_form(name, text, EMBEDDED)
