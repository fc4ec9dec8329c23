"""Whether an approver is independent of a launch: computed over persons, never over accounts.

The requester, everybody in the actor chain and the owner of a requesting agent can never approve
that launch, under whichever of their accounts. An approver whom ``policies/data/persons.yaml``
does not know cannot be shown to be somebody else, and is refused.
"""

from __future__ import annotations

from typing import Protocol

from gateway.errors import Forbidden
from gateway.model import Member, Principal


class People(Protocol):
    """What independence needs to know about accounts."""

    def person_of(self, account: str) -> str | None:
        """Return the person behind an account."""
        ...

    def owner_of(self, account: str) -> str | None:
        """Return the person who owns an agent's account."""
        ...


def approving_person(
    approver: Principal, requester: Principal, people: People, *, now: int, recent_login: int
) -> str:
    """Return the person who approves, or raise ``Forbidden`` saying why this one cannot.

    ``now`` is in seconds since the epoch; ``recent_login`` is the largest age of ``auth_time`` in
    seconds.
    """
    if approver.kind != "human" or approver.actors:
        raise _refused(
            "approver_not_human",
            "a token held by an agent or a service cannot approve, whoever its subject is; "
            "sign in yourself and approve with your own client",
        )
    if approver.auth_time is None or now - approver.auth_time > recent_login:
        raise _refused(
            "login_not_recent",
            f"approving needs a sign-in within the last {recent_login // 60} minutes; "
            "sign in again and repeat",
        )
    account = approver.subject.account
    person = people.person_of(account)
    if person is None:
        raise _refused(
            "approver_unknown",
            f"{account} is not listed in policies/data/persons.yaml, so it cannot be shown to be "
            "independent of the requester",
        )
    for member in requester.chain:
        if _behind(member, people) is None:
            raise _refused(
                "requester_unknown",
                f"{member.account} asked, and policies/data/persons.yaml names nobody behind it, "
                "so nobody can be shown to be independent; have it listed, and launch again",
            )
    if person in interested(requester, people):
        raise _refused(
            "approver_not_independent",
            "you asked for this launch, act in its chain or own the agent that asked; "
            "another person has to approve it",
        )
    return person


def interested(requester: Principal, people: People) -> frozenset[str]:
    """Return every person who has a stake in the request: chain members and agents' owners."""
    found = set()
    for member in requester.chain:
        found.add(people.person_of(member.account))
        found.add(people.owner_of(member.account))
    return frozenset(person for person in found if person is not None)


def _behind(member: Member, people: People) -> str | None:
    """Return the person who is a human member, or who answers for an agent or a service."""
    if member.kind == "human":
        return people.person_of(member.account)
    return people.owner_of(member.account)


def _refused(code: str, message: str) -> Forbidden:
    return Forbidden(code, message, step="approve")
