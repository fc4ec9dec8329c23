"""Whom a verified token speaks of: kinds come from the row, actors from who may assert them."""

from __future__ import annotations

from typing import Any

import pytest
from identity_forge import ISSUER, NOW, Forge, Trust, accepted, claims, refused

from gateway.model import Member


@pytest.mark.parametrize(
    ("client", "kind", "subject_kind"),
    [("cli", "human", "human"), ("ci", "service", "service"), ("copilot", "agent", "human")],
)
async def test_kind_is_that_of_the_client(
    trust: Trust, forge: Forge, client: str, kind: str, subject_kind: str
) -> None:
    """The row's entry for ``client_id`` says who holds the token."""
    principal = await accepted(trust(), forge.token(claims(client_id=client)))
    assert (principal.kind, principal.subject.kind) == (kind, subject_kind)
    assert principal.client_id == client


async def test_users_own_token_in_an_agents_client(trust: Trust, forge: Forge) -> None:
    """The client becomes the actor, so that its rights bound the request; nobody has signed in."""
    token = forge.token(claims(client_id="copilot", auth_time=NOW))
    principal = await accepted(trust(), token)
    assert principal.kind == "agent"
    assert principal.actors == (Member(ISSUER, "copilot", "agent"),)
    assert [member.subject for member in principal.chain] == ["alice", "copilot"]
    assert principal.auth_time is None


async def test_agent_that_speaks_for_itself(trust: Trust, forge: Forge) -> None:
    """A subject that is the agent's own client is an agent, and acts for nobody."""
    principal = await accepted(trust(), forge.token(claims(sub="copilot", client_id="copilot")))
    assert (principal.kind, principal.subject.kind, principal.actors) == ("agent", "agent", ())


@pytest.mark.parametrize("kind", ["human", "agent", "service"])
async def test_no_client_means_the_rows_own_kind(trust: Trust, forge: Forge, kind: str) -> None:
    """A token that names no client has the kind that the row gives."""
    verifier = trust(subject_kind=kind)
    principal = await accepted(verifier, forge.token(claims(client_id=None)))
    assert (principal.kind, principal.subject.kind) == (kind, kind)
    assert (principal.client_id, principal.actors) == (None, ())


async def test_unlisted_client(trust: Trust, forge: Forge) -> None:
    """A client that no row lists is refused, or takes the kind that the row gives to others."""
    token = forge.token(claims(client_id="new"))
    assert await refused(trust(), token) == "client_unknown"
    assert (await accepted(trust(other_clients="service"), token)).kind == "service"
    principal = await accepted(trust(other_clients="agent"), token)
    assert (principal.kind, principal.actors[0].subject) == ("agent", "new")


async def test_azp_counts_like_client_id(trust: Trust, forge: Forge) -> None:
    """OpenID Connect's name for the client does the same; both must agree where both are."""
    token = forge.token(claims(client_id=None, azp="copilot"))
    assert (await accepted(trust(), token)).kind == "agent"
    assert (await accepted(trust(), forge.token(claims(azp="cli")))).kind == "human"
    for pair in ({"azp": "copilot"}, {"azp": "cli", "client_id": "copilot"}, {"azp": "CLI"}):
        assert await refused(trust(), forge.token(claims(**pair))) == "claim_invalid"


@pytest.mark.parametrize("value", ["", 5, ["cli"], {"cli": 1}, "c\x00li", True])
async def test_client_is_a_name(trust: Trust, forge: Forge, value: object) -> None:
    """A client that is no short visible text is refused, and never taken for absent."""
    for claim in ("client_id", "azp"):
        token = forge.token(claims(**({"client_id": None} | {claim: value})))
        assert await refused(trust(), token) == "claim_invalid"


@pytest.mark.parametrize("claim", ["kind", "principal_kind", "gty", "amr", "roles", "may_act"])
async def test_no_free_claim_makes_an_agent_human(trust: Trust, forge: Forge, claim: str) -> None:
    """What a token says of its own kind is not read."""
    token = forge.token(claims(client_id="copilot", **{claim: "human"}))
    assert (await accepted(trust(), token)).kind == "agent"


async def test_sign_in_of_a_human(trust: Trust, forge: Forge) -> None:
    """``auth_time`` is kept for a human, and for nobody else."""
    token = forge.token(claims(auth_time=NOW - 50))
    assert (await accepted(trust(), token)).auth_time == NOW - 50
    token = forge.token(claims(auth_time=NOW - 50, client_id="ci"))
    assert (await accepted(trust(), token)).auth_time is None
    token = forge.token(claims(auth_time=NOW - 50, act={"sub": "bot"}))
    assert (await accepted(trust(may_assert_actors=True), token)).auth_time is None


# --- actors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", ["cli", "ci", "copilot"])
async def test_actors_of_a_trusted_issuer(trust: Trust, forge: Forge, client: str) -> None:
    """The chain is the subject, then the current actor, then those before; all of it an agent's."""
    act = {"sub": "planner", "act": {"sub": "runner", "iss": ISSUER}}
    token = forge.token(claims(client_id=client, act=act))
    principal = await accepted(trust(may_assert_actors=True), token)
    assert principal.kind == "agent"
    assert principal.actors == (
        Member(ISSUER, "planner", "agent"),
        Member(ISSUER, "runner", "agent"),
    )


async def test_issuer_that_may_not_assert_actors(trust: Trust, forge: Forge) -> None:
    """``act`` from any other issuer refuses the token, also where it is empty."""
    for act in ({"sub": "bot"}, {}, [], "bot", False):
        assert await refused(trust(), forge.token(claims(act=act))) == "actor_not_allowed"


def nested(depth: int) -> dict[str, Any]:
    """Return an ``act`` of that many actors."""
    act: dict[str, Any] = {"sub": f"a{depth}"}
    for level in range(depth - 1, 0, -1):
        act = {"sub": f"a{level}", "act": act}
    return act


async def test_at_most_four_actors(trust: Trust, forge: Forge) -> None:
    """Four actors are a chain, five are refused, and so are hundreds."""
    verifier = trust(may_assert_actors=True)
    principal = await accepted(verifier, forge.token(claims(act=nested(4))))
    assert [actor.subject for actor in principal.actors] == ["a1", "a2", "a3", "a4"]
    for depth in (5, 200):
        token = forge.token(claims(act=nested(depth)))
        assert await refused(verifier, token) == "actor_not_allowed"


@pytest.mark.parametrize(
    "act",
    [
        {},
        {"sub": ""},
        {"sub": 5},
        {"sub": ["bot"]},
        {"sub": "b\x00t"},
        {"iss": ISSUER},
        {"sub": "bot", "iss": "https://evil.example"},
        {"sub": "bot", "iss": 5},
        {"sub": "bot", "act": None},
        {"sub": "bot", "act": []},
        {"sub": "bot", "act": {"sub": ""}},
        {"sub": "bot", "act": "alice"},
        [{"sub": "bot"}],
        "bot",
    ],
)
async def test_actor_of_another_form(trust: Trust, forge: Forge, act: object) -> None:
    """An actor is an object with a text ``sub`` of the same issuer, at every depth."""
    token = forge.token(claims(act=act))
    assert await refused(trust(may_assert_actors=True), token) == "actor_not_allowed"


# --- groups ------------------------------------------------------------------------------------


async def test_groups_come_from_the_rows_claim(trust: Trust, forge: Forge) -> None:
    """Only the claim that the row names counts, once per group, for the subject alone."""
    token = forge.token(
        claims(
            groups=["security"],
            teams=["data", "web", "data"],
            act={"sub": "bot", "teams": ["root"], "groups": ["root"]},
        )
    )
    principal = await accepted(trust(groups_claim="teams", may_assert_actors=True), token)
    assert principal.subject.groups == ("data", "web")
    assert principal.actors[0].groups == ()
    principal = await accepted(trust(may_assert_actors=True), token)
    assert principal.subject.groups == ()


async def test_no_groups(trust: Trust, forge: Forge) -> None:
    """A token without the claim belongs to no group."""
    principal = await accepted(trust(groups_claim="groups"), forge.token())
    assert principal.subject.groups == ()


@pytest.mark.parametrize(
    "value",
    ["admins", {"admins": True}, [["a"]], [5], [""], ["a\nb"], ["x" * 257], ["g"] * 101, True],
)
async def test_groups_of_another_form(trust: Trust, forge: Forge, value: object) -> None:
    """A groups claim that is not a list of at most 100 short texts refuses the token."""
    token = forge.token(claims(groups=value))
    assert await refused(trust(groups_claim="groups"), token) == "claim_invalid"


async def test_hundred_groups(trust: Trust, forge: Forge) -> None:
    """The most that is allowed passes, in the token's own order."""
    names = [f"g{index}" for index in range(100)]
    principal = await accepted(trust(groups_claim="groups"), forge.token(claims(groups=names)))
    assert principal.subject.groups == tuple(names)
