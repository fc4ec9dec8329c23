"""The process that runs Rego: ``worker.py MEMORY_MB STATUS``, with a socket as standard input.

A regular expression can take hours and a range can take all memory, so Rego runs where it can be
killed: no environment, output to nowhere, and a watchdog thread that ends the process when its
resident memory passes the bound (with STATUS) or the gateway is gone. A limit on address space is
no use: rego-cpp's allocator reserves 256 GB of it. The deadline is the gateway's: it kills.

Frames are four bytes of length and JSON. This file is started by its path, and imports nothing but
the standard library and regopy.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regopy import Bundle, BundleFormat, Input, Interpreter, RegoError
from regopy.rego_shared import rego  # the C API of rego-cpp (rego_c.h), as regopy 1.5.2 binds it

WATCH_SECONDS = 0.01
MAX_INTEGER = 2**53 - 1

Step = tuple[Callable[..., int], tuple[Any, ...]]


class RefusedError(Exception):
    """A question that has no usable answer; the text goes to the operator's log."""


class Evaluator:
    """One compiled policy."""

    def __init__(self) -> None:
        """Nothing is compiled yet."""
        self._rego = Interpreter()
        self._bundle: Bundle | None = None

    def build(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Compile modules and data; write the plan to a folder where one is named.

        Raises ``RefusedError`` with what rego-cpp says of the modules.
        """
        self._rego = Interpreter()
        self._rego.strict_built_in_errors = True
        try:
            for path, source in message["modules"].items():
                self._rego.add_module(path, source)
            # Texts are compared in their JSON form, so all of them have to be escaped alike.
            self._rego.add_data_json(json.dumps(message["data"], ensure_ascii=False))
            bundle = self._rego.build(None, message["entrypoints"])
            if save := message.get("save"):  # of a broken bundle, this raises what is wrong
                self._rego.save_bundle(save, bundle, BundleFormat.JSON)
        except RegoError as error:
            raise RefusedError(str(error)) from error
        if not bundle.ok():
            raise RefusedError("does not compile")
        self._bundle = bundle
        return {}

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Answer questions: for each, and for each of its parts, the result of each entry point.

        Raises ``RefusedError`` where one has no usable answer.
        """
        return {"answers": [list(self._answers(item)) for item in message["questions"]]}

    def _answers(self, question: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        shared = list(members(question["shared"]))
        count = len(question["shared"])
        for part in question["parts"]:
            self._rego.set_input(prepared([*shared, *members(part)], count + len(part)))
            yield {name: self._query(name) for name in question["entrypoints"]}

    def _query(self, entrypoint: str) -> Any:  # noqa: ANN401 -- JSON
        if self._bundle is None:
            raise RefusedError("asked before anything was compiled")
        try:
            output = self._rego.query_bundle_entrypoint(self._bundle, entrypoint)
        except (RegoError, ValueError) as error:  # ValueError: the answer was an error text
            raise RefusedError(f"{entrypoint}: {error}") from error
        if not output.ok() or len(output) != 1:
            raise RefusedError(f"{entrypoint}: an error in a builtin, or conflicting rules")
        found = output[0].expressions
        return found[0] if len(found) == 1 else None


# --- input --------------------------------------------------------------------------------------
# regopy takes texts as they are into JSON: unescaped, a quotation mark would end the text and a
# NUL would cut it. So texts are escaped here, and what is the same for all tasks is prepared once.


def members(value: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the steps that push the members of an object."""
    for key, item in value.items():
        yield text(key)
        yield from steps(item)
        yield rego.regoInputObjectItem, ()


def steps(value: Any) -> Iterator[Step]:  # noqa: ANN401 -- JSON
    """Yield the steps that push a value. Raises ``RefusedError`` outside canonical JSON."""
    if isinstance(value, str):
        yield text(value)
    elif value is None:
        yield rego.regoInputNull, ()
    elif isinstance(value, bool):
        yield rego.regoInputBoolean, (value,)
    elif isinstance(value, int) and abs(value) <= MAX_INTEGER:
        yield rego.regoInputInt, (value,)
    elif isinstance(value, list):
        for item in value:
            yield from steps(item)
        yield rego.regoInputArray, (len(value),)
    elif isinstance(value, dict):
        yield from members(value)
        yield rego.regoInputObject, (len(value),)
    else:
        raise RefusedError(f"{type(value).__name__} {value!r} is not allowed in input")


def text(value: str) -> Step:
    """Return the step that pushes a text, in the JSON form that data has too."""
    try:
        return rego.regoInputString, (json.dumps(value, ensure_ascii=False)[1:-1].encode(),)
    except UnicodeEncodeError as error:
        raise RefusedError("a text in input is not valid Unicode") from error


def prepared(pushes: Sequence[Step], size: int) -> Input:
    """Return an input object made of pushed members."""
    value = Input.__new__(Input)
    value._impl = rego.regoNewInput()  # noqa: SLF001 -- as Input.__init__ does, one call cheaper
    for function, arguments in (*pushes, (rego.regoInputObject, (size,))):
        if function(value._impl, *arguments) != 0:  # noqa: SLF001
            raise RefusedError("input could not be made")
    return value


# --- process ------------------------------------------------------------------------------------


def confine(memory_mb: int, exhausted: int, busy: threading.Event) -> None:
    """Give up what Rego does not need, and start the watchdog."""
    ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26, 1 << 26))
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    bounds = (memory_mb << 20, exhausted, os.getppid(), busy)
    threading.Thread(target=watchdog, args=bounds, daemon=True).start()


def watchdog(memory: int, exhausted: int, parent: int, busy: threading.Event) -> None:
    """End the process when, at work, it holds more than ``memory`` bytes or has lost its parent."""
    page = resource.getpagesize()
    with open("/proc/self/statm", "rb", buffering=0) as statm:  # noqa: PTH123 -- read again and again
        while busy.wait() and os.getppid() == parent:
            statm.seek(0)
            if int(statm.read(128).split()[1]) * page > memory:
                os._exit(exhausted)
            time.sleep(WATCH_SECONDS)
    os._exit(0)


def serve(channel: socket.socket, busy: threading.Event) -> None:
    """Answer one frame after another until the gateway closes the socket."""
    evaluator = Evaluator()
    stream = channel.makefile("rwb")
    while len(head := stream.read(4)) == 4:  # noqa: PLR2004 -- four bytes of length
        message = json.loads(stream.read(int.from_bytes(head, "big")))
        busy.set()
        try:
            handle = evaluator.build if message["op"] == "build" else evaluator.ask
            answer = {"ok": True, **handle(message)}
        except RefusedError as refused:
            answer = {"ok": False, "error": str(refused)[:100_000]}
        busy.clear()
        body = json.dumps(answer).encode()
        stream.write(len(body).to_bytes(4, "big") + body)
        stream.flush()


def main() -> None:
    """Keep the socket, close everything that could print, serve."""
    channel = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    busy = threading.Event()
    confine(int(sys.argv[1]), int(sys.argv[2]), busy)
    serve(channel, busy)


if __name__ == "__main__":
    main()
