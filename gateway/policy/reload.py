"""Keeps the newest good policy of a folder: looked at often, swapped whole, never half.

A revision that does not load, or whose own tests fail, is refused and the one before stays. Whoever
leases a policy keeps it to the end of their lease; its engine is closed when the last user of a
replaced one leaves. Reading is repeated until the folder stood still meanwhile, so that a
half-written change is not taken for a revision.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from gateway.canonical import sha256
from gateway.errors import GatewayError, Retryable
from gateway.policy.decide import LoadedPolicy
from gateway.policy.findings import Finding, PolicyInvalid
from gateway.policy.loading import open_policy
from gateway.policy.snapshot import policy_files, read_files, snapshot_of
from gateway.settings import PolicySettings

OnLoaded = Callable[[LoadedPolicy], Awaitable[None] | None]
OnRefused = Callable[[tuple[Finding, ...]], Awaitable[None] | None]

_Stamp = tuple[tuple[str, int, int, int], ...]  # path, modification time, size, inode


class _Shared:
    """A loaded policy and how many use it."""

    def __init__(self, policy: LoadedPolicy) -> None:
        self.policy = policy
        self.users = 0
        self.replaced = False

    async def settle(self) -> None:
        if self.replaced and self.users == 0:
            self.users = -1  # closed once
            await self.policy.close()


class PolicyWatcher:
    """The gateway's policy. ``start`` it, ``lease`` it for each decision, ``close`` it."""

    def __init__(
        self,
        directory: Path,
        settings: PolicySettings,
        on_loaded: OnLoaded,
        on_refused: OnRefused,
    ) -> None:
        """``on_loaded`` is told before a revision is used, ``on_refused`` once for each bad state.

        Either may be a coroutine function. A revision is not used when ``on_loaded`` raises.
        """
        self._directory = directory
        self._settings = settings
        self._on_loaded = on_loaded
        self._on_refused = on_refused
        self._current: _Shared | None = None
        self._task: asyncio.Task[None] | None = None
        self._stamp: _Stamp = ()
        self._content = ""

    async def start(self) -> LoadedPolicy:
        """Load the first policy and begin to watch. Raises ``PolicyInvalid``."""
        self._stamp, files = await asyncio.to_thread(_read_still, self._directory)
        self._content = _content(files)
        policy = await self._open(files)
        self._current = _Shared(policy)
        self._task = asyncio.create_task(self._watch(), name="watch policy")
        return policy

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[LoadedPolicy]:
        """Use the newest policy; it stays the same, and stays usable, to the end of the block.

        Raises ``Retryable`` (``policy_unavailable``) before ``start`` and after ``close``.
        """
        shared = self._current
        if shared is None:
            raise Retryable("policy_unavailable", "no policy is loaded", step="decide")
        shared.users += 1
        try:
            yield shared.policy
        finally:
            shared.users -= 1
            await shared.settle()

    async def close(self) -> None:
        """Stop watching, and close the policy when its last user has left."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._replace(None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._settings.reload_seconds)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 -- whatever it is, the watch goes on
                structlog.get_logger().error("policy_watch_failed", detail=str(error))

    async def _look(self) -> None:
        """Take over what has changed. A state that was refused is not tried twice."""
        if await asyncio.to_thread(_stamp, self._directory) == self._stamp:
            return
        try:
            stamp, files = await asyncio.to_thread(_read_still, self._directory)
        except PolicyInvalid as error:
            await self._refuse(error.findings)
            self._content = ""  # whatever can be read next is news, even the state before this
            self._stamp = await asyncio.to_thread(_stamp, self._directory)
            return
        content = _content(files)
        if content != self._content:
            try:
                policy = await self._open(files)
            except PolicyInvalid as error:
                await self._refuse(error.findings)
            else:
                await self._replace(policy)
            self._content = content
        self._stamp = stamp

    async def _open(self, files: dict[str, bytes]) -> LoadedPolicy:
        snapshot = await asyncio.to_thread(snapshot_of, files)
        policy = await open_policy(snapshot, self._settings)
        try:
            await _told(self._on_loaded(policy))
        except BaseException:
            await policy.close()
            raise
        return policy

    async def _replace(self, policy: LoadedPolicy | None) -> None:
        before, self._current = self._current, _Shared(policy) if policy else None
        if before is not None:
            before.replaced = True
            await before.settle()

    async def _refuse(self, findings: tuple[Finding, ...]) -> None:
        with suppress(GatewayError):  # nothing depends on who is told
            await _told(self._on_refused(findings))


async def _told(result: Awaitable[None] | None) -> None:
    if inspect.isawaitable(result):
        await result


def _stamp(directory: Path) -> _Stamp:
    found = []
    for path in policy_files(directory.resolve()):
        with suppress(OSError):
            stat = path.stat()
            found.append((str(path), stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def _read_still(directory: Path) -> tuple[_Stamp, dict[str, bytes]]:
    """Read the folder while it stands still. Raises ``PolicyInvalid`` when it never does."""
    for _ in range(10):
        before = _stamp(directory)
        with suppress(FileNotFoundError):
            files = read_files(directory)
            if _stamp(directory) == before:
                return before, files
    raise PolicyInvalid([Finding(".", 0, "keeps changing while it is read")])


def _content(files: dict[str, bytes]) -> str:
    return sha256(b"".join(sha256(name.encode() + b"\0" + files[name]).encode() for name in files))
