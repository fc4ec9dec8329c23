"""The signer as the gateway sees it: a process that is started, asked, watched and ended."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from decisionlog_disk import ORIGIN, Disk, SignedLog, forge

from gateway.decisionlog import note
from gateway.decisionlog.log import Entry
from gateway.decisionlog.signer import CheckpointSigner
from gateway.decisionlog.sqlite import SqliteDecisionLog
from gateway.decisionlog.verifier import verify
from gateway.errors import IntegrityViolation, Misconfigured, Retryable
from gateway.keys import verifier_key_path
from gateway.store.database import Database


def made(disk: Disk, log: SqliteDecisionLog, every_seconds: float = 60) -> CheckpointSigner:
    """Return a signer that is not started."""
    return CheckpointSigner(disk.database, log, disk.keys, ORIGIN, every_seconds)


@pytest.fixture
async def signer(disk: Disk, log: SqliteDecisionLog) -> AsyncIterator[CheckpointSigner]:
    """Yield a signer that signs when it is asked."""
    async with made(disk, log) as started:
        yield started


def pid(signer: CheckpointSigner) -> int:
    """Return the process that signs."""
    process = signer._process._process
    assert process is not None
    return process.pid


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens by itself soon."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what it waits for tells nobody
            await asyncio.sleep(0.02)


def witnessed(disk: Disk) -> list[int]:
    """Return the sizes in the witness copy."""
    lines = (disk.directory / "checkpoints.log").read_text().splitlines()
    return [note.parse(json.loads(line)["checkpoint"]).size for line in lines]


async def test_a_checkpoint_covers_what_is_durable(
    disk: Disk, log: SqliteDecisionLog, signer: CheckpointSigner
) -> None:
    """It is kept in the log and beside it, once, and verifies with the published key."""
    assert signer.healthy == (True, "")
    for _ in range(2):
        await log.append(Entry("gateway.started"))
        text = await signer.checkpoint_now()
        assert await signer.checkpoint_now() == text
        assert await log.checkpoint() == text
    assert note.verify(text, signer.public_key).size == 2
    assert f"{signer.public_key}\n" == verifier_key_path(disk.keys).read_text()
    assert witnessed(disk) == [0, 1, 2]
    report = verify(disk.database, signer.public_key, disk.directory / "checkpoints.log")
    assert report.ok
    assert report.not_covered == 0


async def test_checkpoints_come_by_themselves(disk: Disk, log: SqliteDecisionLog) -> None:
    """While there is something new, and not otherwise."""
    async with made(disk, log, every_seconds=0.02) as signer:
        await log.append(Entry("gateway.started"))
        await until(lambda: witnessed(disk)[-1] == 1)
        await asyncio.sleep(0.1)
        assert witnessed(disk) == [0, 1]
        assert signer.healthy[0]


async def test_stop_signs_what_is_left(disk: Disk, log: SqliteDecisionLog) -> None:
    """Nothing stays uncovered by an orderly stop, and no process stays."""
    async with made(disk, log) as signer:
        await log.append(Entry("gateway.stopped"))
        process = pid(signer)
    assert witnessed(disk) == [0, 1]
    assert not signer.healthy[0]
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


async def test_a_restart_repeats_no_checkpoint(disk: Disk, log: SqliteDecisionLog) -> None:
    """The same head is the same text, kept once."""
    for _ in range(2):
        async with made(disk, log):
            pass
    assert witnessed(disk) == [0]


async def test_callers_at_once_share_one_process(
    log: SqliteDecisionLog, signer: CheckpointSigner
) -> None:
    """Each gets a checkpoint that covers what was durable when it asked."""

    async def one() -> int:
        receipt = await log.append(Entry("task.started"))
        return note.parse(await signer.checkpoint_now()).size - receipt.seq

    assert all(covered >= 1 for covered in await asyncio.gather(*(one() for _ in range(20))))
    assert signer.healthy[0]


async def test_a_caller_that_gives_up_disturbs_nobody(
    log: SqliteDecisionLog, signer: CheckpointSigner
) -> None:
    """The answer that it no longer waits for is not taken for the next one's."""
    await log.append(Entry("gateway.started"))
    impatient = asyncio.create_task(signer.checkpoint_now())
    for _ in range(3):
        await asyncio.sleep(0)
    assert signer._asking.locked()
    impatient.cancel()
    await log.append(Entry("gateway.stopped"))
    assert note.parse(await signer.checkpoint_now()).size == 2
    assert impatient.cancelled()


async def test_a_signer_that_dies_is_started_again(disk: Disk, log: SqliteDecisionLog) -> None:
    """Meanwhile the gateway is not ready; afterwards the new process goes on where it was."""
    async with made(disk, log, every_seconds=0.05) as signer:
        await log.append(Entry("gateway.started"))
        await signer.checkpoint_now()
        first = pid(signer)
        os.kill(first, signal.SIGKILL)
        await until(lambda: not signer.healthy[0])
        await until(lambda: signer.healthy[0])
        assert pid(signer) != first
        await log.append(Entry("gateway.stopped"))
        assert note.parse(await signer.checkpoint_now()).size == 2


async def test_a_signer_that_dies_at_once_is_not_started_in_a_loop(
    disk: Disk, log: SqliteDecisionLog, signer: CheckpointSigner
) -> None:
    """Each start waits longer than the one before."""
    os.kill(pid(signer), signal.SIGKILL)
    await log.append(Entry("gateway.started"))
    signer._process._arguments = (str(disk.database), "too few arguments")
    signer._process._not_before = 0
    delays = []
    for _ in range(3):
        with pytest.raises(Retryable) as caught:
            await signer.checkpoint_now()
        assert caught.value.code == "signer_unavailable"
        delays.append(signer._process._delay)
        with pytest.raises(Retryable, match="started again shortly"):
            await signer.checkpoint_now()
        signer._process._not_before = 0
    assert delays == sorted(set(delays))
    assert not signer.healthy[0]


async def test_a_forged_entry_stops_the_signer(
    disk: Disk, log: SqliteDecisionLog, signer: CheckpointSigner
) -> None:
    """The gateway is then not ready, and says why."""
    await log.append(Entry("gateway.started"))
    await signer.checkpoint_now()
    forge(disk)
    signer._covered = -1  # the forger did not tell us that there is something new
    for _ in range(2):
        with pytest.raises(IntegrityViolation) as caught:
            await signer.checkpoint_now()
        assert caught.value.code == "log_entry_forged"
        assert signer.healthy == (
            False,
            "log_entry_forged: entry 1 was not written by the gateway",
        )


async def test_a_log_that_is_refused_at_the_start_is_not_ready(signed: SignedLog) -> None:
    """The gateway starts, so that people can look, and reports that it is not ready."""
    with signed.disk.tampered() as connection:
        connection.execute("UPDATE entries SET mac = zeroblob(32) WHERE seq = 5")
    database, log = await signed.disk.open()
    async with made(signed.disk, log, every_seconds=0.05) as signer:
        assert signer.healthy[0] is False
        assert "log_entry_forged" in signer.healthy[1]
        await asyncio.sleep(0.2)
        assert signer.healthy[0] is False
    await database.close()


async def test_unusable_keys_stop_the_start(signed: SignedLog) -> None:
    """With the error that names the file."""
    (signed.disk.keys / "log-signer.json").unlink()
    database, log = await signed.disk.open()
    with pytest.raises(Misconfigured, match=r"log-signer\.json"):
        await made(signed.disk, log).start()
    await database.close()


async def test_a_witness_that_cannot_be_written_is_not_ready(
    disk: Disk, log: SqliteDecisionLog
) -> None:
    """A checkpoint counts only when it is kept where it can be copied from."""
    (disk.directory / "checkpoints.log").mkdir()
    async with made(disk, log) as signer:
        assert not signer.healthy[0]
        with pytest.raises(Retryable) as caught:
            await signer.checkpoint_now()
        assert caught.value.code == "checkpoint_not_kept"
    assert await log.checkpoint() is None


async def test_the_process_has_no_environment(signer: CheckpointSigner) -> None:
    """Nothing that the gateway was given reaches it."""
    environment = await asyncio.to_thread(Path(f"/proc/{pid(signer)}/environ").read_bytes)
    assert b"PATH" not in environment
    assert b"HOME" not in environment


async def test_the_process_ends_with_the_gateway(disk: Disk, log: SqliteDecisionLog) -> None:
    """However that ended: its pipe closes."""
    signer = made(disk, log)
    await signer.start()
    process = signer._process._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    async with asyncio.timeout(5):
        assert await process.wait() == 0
    await signer.stop()


async def test_a_stopped_database_does_not_hang_the_signer(disk: Disk) -> None:
    """A checkpoint that cannot be kept is an error, and stopping still works."""
    database = await Database.open(disk.database, within_seconds=5)
    log = await disk.log(database)
    async with made(disk, log) as signer:
        await log.append(Entry("gateway.started"))
        await database.close()
        with pytest.raises(Retryable):
            await signer.checkpoint_now()
