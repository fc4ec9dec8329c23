"""Verified claims become a ``Principal``: who is meant, who holds the token, who acts for whom.

The kind comes from the issuer's row and the client, and from nowhere else: no claim of a token can
make an agent human. Groups are the subject's alone; an actor brings none.
"""

from __future__ import annotations

from gateway.identity import claims as read
from gateway.identity.claims import Claims, Validity
from gateway.identity.issuers import Issuer
from gateway.identity.refusals import refusal
from gateway.identity.strict import is_name
from gateway.model import Kind, Member, Principal

MAX_ACTORS = 4


def principal_of(issuer: Issuer, claims: Claims, validity: Validity) -> Principal:
    """Return whom a verified token speaks of. Raises ``Unauthenticated``.

    An agent's client usually holds the user's own token. Without an ``act`` claim that says so,
    the client itself becomes the actor, so that its rights bound the request all the same. A token
    whose subject is the client speaks for that client alone (RFC 9068 section 2.2).
    """
    name, client = read.name(claims, "sub"), read.client(claims)
    holder = issuer.kind_of(client)
    subject_kind = issuer.subject_kind if holder == "agent" and name != client else holder
    if "act" in claims:
        actors = _actors(issuer, claims["act"])
    elif holder == "agent" and client is not None and name != client:
        actors = (Member(issuer.name, client, "agent"),)
    else:
        actors = ()
    kind: Kind = "agent" if actors else holder
    return Principal(
        subject=Member(issuer.name, name, subject_kind, read.groups(claims, issuer.groups_claim)),
        kind=kind,
        client_id=client,
        actors=actors,
        # Nobody but a person signs in: a sign-in must not outlive the hand-over to an agent.
        auth_time=validity.auth_time if kind == "human" else None,
        token_id=read.name(claims, "jti"),
        expires_at=validity.expires_at,
    )


def _actors(issuer: Issuer, act: object) -> tuple[Member, ...]:
    """Read the nested ``act`` claim, current actor first (RFC 8693 section 4.1)."""
    if not issuer.may_assert_actors:
        raise refusal("actor_not_allowed", f"{issuer.name} may not assert actors")
    actors: list[Member] = []
    while True:
        if not isinstance(act, dict) or not is_name(act.get("sub")):
            raise refusal("actor_not_allowed", "act is not an object with a text sub")
        if act.get("iss", issuer.name) != issuer.name:
            raise refusal("actor_not_allowed", "an actor of another issuer")
        if len(actors) == MAX_ACTORS:
            raise refusal("actor_not_allowed", f"more than {MAX_ACTORS} actors")
        actors.append(Member(issuer.name, act["sub"], "agent"))
        if "act" not in act:
            return tuple(actors)
        act = act["act"]
