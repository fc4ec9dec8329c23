"""Invariant 5: nobody with a stake in a launch can approve it, under whichever account."""

from dataclasses import replace
from typing import ClassVar

import pytest

from gateway.approvals.independence import approving_person, interested
from gateway.errors import Forbidden
from gateway.model import Member, Principal

ISSUER = "https://i"
NOW = 1_000_000


class Register:
    """Persons and accounts as ``policies/data/persons.yaml`` knows them."""

    persons: ClassVar = {"ada": "ada", "ada-admin": "ada", "ben": "ben", "chloe": "chloe"}
    owners: ClassVar = {"copilot": "ada"}

    def person_of(self, account: str) -> str | None:
        """Return the person behind an account."""
        return self.persons.get(account.removeprefix(ISSUER + "#"))

    def owner_of(self, account: str) -> str | None:
        """Return the owner of an agent."""
        return self.owners.get(account.removeprefix(ISSUER + "#"))


def human(name: str, auth_time: int | None = NOW - 60) -> Principal:
    """Return a human who has just signed in."""
    return Principal(Member(ISSUER, name, "human"), "human", auth_time=auth_time)


def agent_for(name: str) -> Principal:
    """Return an agent that acts for somebody."""
    return replace(human(name, None), kind="agent", actors=(Member(ISSUER, "copilot", "agent"),))


def check(approver: Principal, requester: Principal) -> str:
    """Ask with a sign-in of at most ten minutes."""
    return approving_person(approver, requester, Register(), now=NOW, recent_login=600)


def code(approver: Principal, requester: Principal) -> str:
    """Return why the approver is refused."""
    with pytest.raises(Forbidden) as caught:
        check(approver, requester)
    assert caught.value.step == "approve"
    return caught.value.code


def test_another_person_may() -> None:
    """An independent human who has just signed in approves as a person, not as an account."""
    assert check(human("chloe"), agent_for("ben")) == "chloe"


def test_requester_may_not_under_any_account() -> None:
    """The requester's second account is the same person."""
    assert code(human("ada"), human("ada")) == "approver_not_independent"
    assert code(human("ada-admin"), human("ada")) == "approver_not_independent"


def test_owner_of_the_requesting_agent_may_not() -> None:
    """Ada owns the agent that acts for Ben: she has a stake although Ben asked."""
    assert code(human("ada"), agent_for("ben")) == "approver_not_independent"


def test_members_of_the_chain_may_not() -> None:
    """A human who acts for the subject is in the chain."""
    chain = replace(human("ben"), actors=(Member(ISSUER, "chloe", "human"),))
    assert code(human("chloe"), chain) == "approver_not_independent"


def test_agents_and_services_may_not_whoever_their_subject_is() -> None:
    """A token in an agent's hands does not approve, even with an independent subject."""
    assert code(agent_for("chloe"), human("ada")) == "approver_not_human"
    service = replace(human("chloe"), kind="service")
    assert code(service, human("ada")) == "approver_not_human"


def test_human_kind_with_actors_may_not() -> None:
    """A chain that claims to be human is still a chain."""
    odd = replace(agent_for("chloe"), kind="human", auth_time=NOW)
    assert code(odd, human("ada")) == "approver_not_human"


@pytest.mark.parametrize("auth_time", [None, NOW - 601])
def test_old_or_missing_sign_in_is_refused(auth_time: int | None) -> None:
    """Approving needs a person who signed in recently."""
    assert code(human("chloe", auth_time), human("ada")) == "login_not_recent"


def test_unknown_person_is_refused() -> None:
    """Who is not in the register cannot be shown to be somebody else."""
    assert code(human("mallory"), human("ada")) == "approver_unknown"


def test_a_requester_whom_nobody_knows_cannot_be_approved() -> None:
    """An unlisted account could be the approver's own: nobody can be shown to be independent."""
    assert code(human("chloe"), human("ada-laptop")) == "requester_unknown"
    strange = replace(agent_for("ben"), actors=(Member(ISSUER, "stray", "agent"),))
    assert code(human("chloe"), strange) == "requester_unknown"


def test_interested_counts_persons_once() -> None:
    """Subject and owner of the agent are one person here."""
    assert interested(agent_for("ada"), Register()) == {"ada"}
