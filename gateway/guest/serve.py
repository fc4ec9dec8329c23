"""``serve``: the warm process. Imports the pipeline once, forks a process for each attempt.

It holds no thread, so forking is safe; it never builds a task itself, so an attempt finds the
pipeline as a fresh import left it. It ends, and with it every attempt, when its socket is closed.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import enclose
from .failure import GuestError
from .pinned import prepare

if TYPE_CHECKING:
    from .attempt import Work

_PACKET = 1 << 16
_DESCRIPTORS = 3  # payload, log, report
_NO_PROCESS = 71  # the exit code of an attempt that could not be forked: EX_OSERR of sysexits.h


@dataclass
class _Running:
    """An attempt under way."""

    attempt: str
    warden: int  # process id
    watch: int  # its pidfd
    lifeline: int  # closing it ends the attempt; then -1


def serve(spec: dict[str, Any], tree: str, workdir: str, channel: int) -> None:
    """Answer packets until the socket is closed."""
    link = socket.socket(fileno=channel)
    link.set_inheritable(False)
    try:
        prepare(spec, tree, workdir)
        from .attempt import Work  # imports Luigi, so only now
    except GuestError as failure:
        _say(link, {"event": "failed", "code": failure.code, "reason": _sentence(failure)})
        os._exit(1)
    gc.collect()
    gc.freeze()
    nest = enclose.can_nest()
    _say(link, {"event": "ready", "layers": {"nested_namespaces": nest}})
    _Server(link, Work(spec, tree), nest=nest).run()
    os._exit(0)


class _Server:
    def __init__(self, link: socket.socket, work: Work, *, nest: bool) -> None:
        self._link = link
        self._work = work
        self._nest = nest
        self._running: dict[str, _Running] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(link, selectors.EVENT_READ)

    def run(self) -> None:
        """Take what comes, packets and ends, one at a time."""
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._ended(key.data)
                elif not self._packet():
                    return

    def _packet(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self._link, _PACKET, _DESCRIPTORS)
        if not data:
            return False
        message = json.loads(data)
        try:
            if message["op"] == "kill":
                running = self._running.get(message["attempt"])
                if running is not None and running.lifeline >= 0:
                    os.close(running.lifeline)
                    running.lifeline = -1
            else:
                self._start(message["op"], message["attempt"], descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _start(self, operation: str, attempt: str, descriptors: list[int]) -> None:
        payload, log, report = descriptors
        strangers = [end for item in self._running.values() for end in (item.watch, item.lifeline)]

        def work() -> None:
            self._selector.close()
            self._link.close()
            for descriptor in strangers:
                if descriptor >= 0:
                    os.close(descriptor)
            self._work.do(operation, payload, log, report)

        try:
            warden, lifeline = enclose.fork_enclosed(work, nest=self._nest)
        except OSError:
            event = {"event": "exited", "attempt": attempt, "code": _NO_PROCESS, "signal": None}
            _say(self._link, event)
            return
        running = _Running(attempt, warden, os.pidfd_open(warden), lifeline)
        self._running[attempt] = running
        self._selector.register(running.watch, selectors.EVENT_READ, running)

    def _ended(self, running: _Running) -> None:
        self._selector.unregister(running.watch)
        _, status = os.waitpid(running.warden, 0)
        os.close(running.watch)
        if running.lifeline >= 0:
            os.close(running.lifeline)
        del self._running[running.attempt]
        code, signal = enclose.outcome(status)
        event = {"event": "exited", "attempt": running.attempt, "code": code, "signal": signal}
        _say(self._link, event)


def _sentence(failure: GuestError) -> str:
    return f"{failure.message} ({failure.where})" if failure.where else failure.message


def _say(link: socket.socket, message: Mapping[str, object]) -> None:
    try:
        link.send(json.dumps(message).encode())
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)  # the gateway has gone; process 1 takes every attempt along
