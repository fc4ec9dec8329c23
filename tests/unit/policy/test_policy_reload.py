"""The watcher: good revisions are swapped in whole, bad ones leave the old one in force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from policy_kit import HISTORY, NOW, files, module, principal, settings, write

from gateway.errors import Retryable
from gateway.model import Decision, LaunchRequest
from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.reload import PolicyWatcher

DENYING = module("admit", 'deny contains {"rule": "closed"} if input.request.reason != "x"\n')
BROKEN = module("admit", 'deny contains {"rule": "closed"} if typo\n')
SECONDS = 20


@dataclass
class Told:
    """What the watcher reported."""

    loaded: list[str] = field(default_factory=list)
    refused: list[tuple[Finding, ...]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_loaded(self, policy: LoadedPolicy) -> None:
        """Note a revision."""
        self.loaded.append(policy.snapshot.version.revision)
        self.news.set()

    def on_refused(self, findings: tuple[Finding, ...]) -> None:
        """Note a refusal."""
        self.refused.append(findings)
        self.news.set()

    async def wait(self) -> None:
        """Wait for the next report."""
        async with asyncio.timeout(SECONDS):
            await self.news.wait()
        self.news.clear()


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[tuple[PolicyWatcher, Told]]:
    """Watch a folder that holds the sample policy."""
    write(folder, files())
    told = Told()
    watcher = PolicyWatcher(folder, settings(reload_seconds=0.05), told.on_loaded, told.on_refused)
    await watcher.start()
    told.news.clear()
    try:
        yield watcher, told
    finally:
        await watcher.close()


def change(path: Path, text: str) -> None:
    """Replace a file as editors and deployments do: never half of it."""
    new = path.with_name(f".{path.name}")
    new.write_text(text)
    new.replace(path)


async def admit(policy: LoadedPolicy) -> Decision:
    """Ask for the sample's pipeline."""
    request = LaunchRequest("report", {})
    return await policy.admit(principal(), request, history=HISTORY, now=NOW, enforcement="none")


async def swapped(watcher: PolicyWatcher, before: str) -> None:
    """Wait until another revision is leased out."""
    async with asyncio.timeout(SECONDS):
        while True:
            async with watcher.lease() as policy:
                if policy.snapshot.version.revision != before:
                    return
            await asyncio.sleep(0.02)


async def test_policy_reload_takes_a_good_revision(tmp_path: Path) -> None:
    """A change of the files decides the next question, and is told before it does."""
    async with watching(tmp_path) as (watcher, told):
        async with watcher.lease() as policy:
            assert (await admit(policy)).verdict == "allow"
            before = policy.snapshot.version.revision
        change(tmp_path / "admit.rego", DENYING)
        await swapped(watcher, before)
        async with watcher.lease() as policy:
            assert (await admit(policy)).verdict == "deny"
            assert told.loaded == [before, policy.snapshot.version.revision]


async def test_policy_reload_takes_changed_data(tmp_path: Path) -> None:
    """Data is policy: a changed catalogue is a new revision."""
    async with watching(tmp_path) as (watcher, told):
        place = tmp_path / "data" / "pipelines.yaml"
        change(place, place.read_text().replace("title: Report", "title: Renamed"))
        await told.wait()
        await swapped(watcher, told.loaded[0])
        async with watcher.lease() as policy:
            assert policy.snapshot.data.pipelines["report"].title == "Renamed"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("admit.rego", BROKEN, "uses a name that nothing defines"),
        ("admit_test.rego", module("admit", "test_a if false\n"), "test_a fails"),
        ("data/groups.yaml", "analysts: [\n", "data/groups.yaml:2"),
        ("data/limits.yaml", "running: 0\n", "data/limits.yaml:1"),
    ],
    ids=["rule", "test", "syntax", "schema"],
)
async def test_policy_reload_refuses_a_bad_revision_once(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    """A policy that does not load, or fails its tests, leaves the old one and is told once."""
    async with watching(tmp_path) as (watcher, told):
        change(tmp_path / name, text)
        await told.wait()
        assert reason in " ".join(str(finding) for finding in told.refused[0])
        async with watcher.lease() as policy:
            assert (await admit(policy)).verdict == "allow"
        await asyncio.sleep(0.3)
        assert len(told.refused) == 1
        good = {"admit_test.rego": b"package sluice.admit\n", **files()}[name]
        change(tmp_path / name, good.decode())
        change(tmp_path / "admit.rego", DENYING)
        await swapped(watcher, told.loaded[0])


async def test_policy_reload_back_to_the_old_files_is_told(tmp_path: Path) -> None:
    """After a refusal, the files that are in force again are reported as such."""
    async with watching(tmp_path) as (_, told):
        for broken in (BROKEN, 'package sluice.admit\nx := "\\u0041"\n'):
            change(tmp_path / "admit.rego", broken)
            await told.wait()
            change(tmp_path / "admit.rego", files()["admit.rego"].decode())
            await told.wait()
        assert len(told.refused) == 2
        assert told.loaded == [told.loaded[0]] * 3


async def test_policy_reload_keeps_a_lease_to_its_end(tmp_path: Path) -> None:
    """Who has begun with a revision ends with it; its engine is closed when they leave."""
    async with watching(tmp_path) as (watcher, told):
        async with watcher.lease() as old:
            change(tmp_path / "admit.rego", DENYING)
            await swapped(watcher, told.loaded[0])
            async with watcher.lease() as new:
                assert (await admit(new)).verdict == "deny"
            assert (await admit(old)).verdict == "allow"
        with pytest.raises(Retryable):
            await admit(old)


async def test_policy_reload_and_decisions_at_once(tmp_path: Path) -> None:
    """Under constant change every decision is that of one whole revision, and none fails."""
    async with watching(tmp_path) as (watcher, told):
        stop = asyncio.Event()
        seen: set[tuple[str, str]] = set()

        async def ask() -> None:
            while not stop.is_set():
                async with watcher.lease() as policy:
                    seen.add((policy.snapshot.version.revision, (await admit(policy)).verdict))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(ask())
            for text in (DENYING, files()["admit.rego"].decode(), DENYING):
                change(tmp_path / "admit.rego", text)
                await told.wait()
            await asyncio.sleep(0.1)
            stop.set()
        first = told.loaded[0]
        assert {verdict for revision, verdict in seen if revision == first} == {"allow"}
        assert {verdict for revision, verdict in seen if revision != first} == {"deny"}


async def test_policy_reload_does_not_use_what_could_not_be_told(tmp_path: Path) -> None:
    """A revision whose loading could not be logged is not used; it is tried again."""
    write(tmp_path, files())
    failures = 2

    async def unlogged(policy: LoadedPolicy) -> None:
        nonlocal failures
        if first and policy.snapshot.version.revision != first and failures:
            failures -= 1
            raise Retryable("outcome_unknown", "the log is down")

    first = ""
    watcher = PolicyWatcher(tmp_path, settings(reload_seconds=0.05), unlogged, lambda _: None)
    first = (await watcher.start()).snapshot.version.revision
    try:
        change(tmp_path / "admit.rego", DENYING)
        await swapped(watcher, first)
        assert failures == 0
    finally:
        await watcher.close()


async def test_policy_reload_the_first_policy_has_to_be_good(tmp_path: Path) -> None:
    """Without a policy the gateway does not start."""
    watcher = PolicyWatcher(tmp_path, settings(), lambda _: None, lambda _: None)
    with pytest.raises(PolicyInvalid):
        await watcher.start()
    with pytest.raises(Retryable):
        async with watcher.lease():
            pass
    await watcher.close()


async def test_policy_reload_close_waits_for_nobody(tmp_path: Path) -> None:
    """Closing leaves a policy to whoever leases it, and ends it with them."""
    async with watching(tmp_path) as (watcher, _):
        async with watcher.lease() as policy:
            await watcher.close()
            assert (await admit(policy)).verdict == "allow"
        with pytest.raises(Retryable):
            await admit(policy)
