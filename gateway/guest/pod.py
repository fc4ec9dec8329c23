"""Without arguments: the guest as a pod's only process, ``python3 -I -B /sluice/guest.pyz``.

1. take the order: a mounted file, or ``SLUICE_TASK``, which the pipeline then does not find
2. find the code and check its bytes, before anything of it is imported
3. do what the order says, as ``serve`` would, the log being the pod's
4. report in the termination message, at most 4,096 bytes, and end without ceremony

A pod needs no path to us, and has none. The package's docstring fixes order and report.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from . import pod_canary, pod_code, pod_limits, pod_report, pod_seal
from .failure import GuestError, wrap

_TERMINATED = 143
_UNREPORTED = 74  # EX_IOERR of sysexits.h
_Answer = tuple[bytes, int]  # the report and the exit code


@dataclass(frozen=True)
class Paths:
    """Where things are in a pod; tests put them elsewhere."""

    order: str = "/sluice-task/task.json"
    code: str = "/sluice-code/code.zip"
    unpacked: str = "/tmp/pipeline"  # noqa: S108 - the pod's own
    message: str = "/dev/termination-log"


class Pod:
    """One order, from its arrival to its report."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._log = os.dup(1)  # the pipeline may close or redirect its own
        self._tree = paths.unpacked
        self._key: bytes | None = None
        self._room = pod_report.LIMIT

    def main(self) -> NoReturn:
        """Do the work and end the process: with 0 when it went well, 1 when it failed."""
        signal.signal(signal.SIGTERM, lambda *_: os._exit(_TERMINATED))  # process 1 has no default
        try:
            report, code = self._do(self._order())
        except BaseException as error:  # noqa: BLE001 - a pipeline may raise anything, anywhere
            failure = wrap("task_invalid", "the pipeline", error, self._tree)
            report, code = pod_report.error_message(**failure.to_json(), limit=self._room), 1
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the pipeline may have closed or replaced it
                stream.flush()
        if self._key is not None:
            report = pod_seal.sealed_report(report, self._key)
        try:
            with open(self._paths.message, "wb") as stream:  # noqa: PTH123 - as os and sys here
                stream.write(report)
        except OSError as error:
            os.write(self._log, f"the report cannot be written: {error}\n".encode())
            os._exit(_UNREPORTED)
        os._exit(code)  # nothing that the pipeline registered for the end runs

    def _order(self) -> dict[str, Any]:
        given = os.environ.pop("SLUICE_TASK", None)
        try:
            with open(self._paths.order, encoding="utf-8") as stream:  # noqa: PTH123 - as above
                given = stream.read()
        except FileNotFoundError:
            if given is None:
                raise GuestError("order_invalid", "the pod was given no task") from None
        order = json.loads(given)
        if not isinstance(order, dict) or order.get("v") != 1:
            raise GuestError("order_invalid", "the pod was given a task of another version")
        if seal := order.pop("seal", None):
            self._key = bytes.fromhex(seal)
            self._room = pod_seal.room(pod_report.LIMIT)
        return order

    def _do(self, order: dict[str, Any]) -> _Answer:
        mode = order["mode"]
        if mode == "canary":
            found = pod_canary.reached(order["host"], order["port"], order["seconds"])
            word = "reached" if found else "unreachable"
            return json.dumps({"v": 1, "canary": word}).encode(), int(found)
        work = {"run": self._run, "probe": self._probe, "resolve": self._resolve}.get(mode)
        if work is None:
            raise GuestError("order_invalid", f"the pod was given the unknown task {mode!a}")
        spec = {**order, "code_digest": self._code(order), "site_packages": []}
        return work(spec)

    def _code(self, order: dict[str, Any]) -> str:
        """Return the digest of the tree that ``_tree`` then names, after checking it."""
        digest, tree = order["code_digest"], order["tree"]
        if tree is not None:
            self._tree = tree
            found = pod_code.digest_of_image(tree)
            if digest is not None and digest != pod_code.image_digest(order["image"], found):
                raise GuestError("code_changed", "the code is not the code that was decided upon")
            return found
        if digest is None:
            raise GuestError("order_invalid", "the pod was given code without a digest")
        pod_code.unpack(self._paths.code, self._tree, digest)
        return str(digest)

    def _run(self, spec: dict[str, Any]) -> _Answer:
        from .pinned import prepare

        prepare(spec, self._tree, spec["workdir"])
        from .attempt import Silence, Work, log_to_stderr  # imports Luigi, so only now
        from .pod_yields import compact

        log_to_stderr()
        result = Work(spec, self._tree).run(spec["node"], Silence())
        if yields := result["yields"]:
            result["yields"] = compact(
                yields["roots"], yields["nodes"], spec["known"], spec["families"]
            )
        return pod_report.run_message(result, self._room), int(result["status"] == "FAILED")

    def _probe(self, spec: dict[str, Any]) -> _Answer:
        from .pinned import prepare

        prepare(spec, self._tree, spec["workdir"])
        from .attempt import Work, log_to_stderr

        log_to_stderr()
        work = Work(spec, self._tree)
        answers = [work.probe(node) for node in spec["nodes"]]
        return pod_report.probe_message(answers, self._room), 0

    def _resolve(self, spec: dict[str, Any]) -> _Answer:
        pod_limits.go_on_within(spec["cpu_seconds"], spec["file_mb"])
        from .resolve import graph

        os.dup2(self._log, 2)  # one stream: no line of another gets in between those of the graph
        data = json.dumps(graph(spec, self._tree, spec["workdir"])).encode()
        self._say_graph(data)
        digest = hashlib.sha256(data).hexdigest()
        message = {
            "v": 1,
            "graph": {"bytes": len(data), "sha256": digest},
            "code_digest": spec["code_digest"],
        }
        return json.dumps(message).encode(), 0

    def _say_graph(self, data: bytes) -> None:
        """Write the graph to the log, after all that the pipeline printed, and nothing after it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the pipeline may have closed or replaced it
                stream.flush()
        for descriptor in (1, 2):  # its threads may go on printing
            os.dup2(nowhere, descriptor)
        text = pod_report.frame(data, self._key)
        while text:
            text = text[os.write(self._log, text) :]


def main() -> NoReturn:
    """Be the pod's process."""
    Pod(Paths()).main()
