"""What went wrong, in words for the pipeline's author: their own lines, not ours or Luigi's."""

from __future__ import annotations

import re
import traceback

_MESSAGE_LENGTH = 100_000  # the gateway cuts shorter, after it has hidden values: not in one
_CALL = re.compile(r"\[args=.*?, kwargs=.*\](?=: )", re.DOTALL)


class GuestError(Exception):
    """A reason to stop: a ``code`` of ``gateway/graph/failures.py``, a sentence, and where."""

    def __init__(self, code: str, message: str, where: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where

    def to_json(self) -> dict[str, str]:
        """Return the form that goes to the gateway."""
        return {"code": self.code, "message": self.message[:_MESSAGE_LENGTH], "where": self.where}


def describe(error: BaseException) -> str:
    """Return type and text of an exception.

    Luigi puts every argument of a call into its texts; they may be secret and are cut out.
    """
    text = _CALL.sub("", str(error)).strip()
    name = type(error).__name__
    return f"{name}: {text}"[:_MESSAGE_LENGTH] if text else name


def place(error: BaseException, tree: str) -> str:
    """Return the pipeline's innermost line that led to ``error``, as ``file.py:12 in name``."""
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(tree):
        return f"{error.filename.removeprefix(tree).lstrip('/')}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(tree):
            relative = frame.filename.removeprefix(tree).lstrip("/")
            return f"{relative}:{frame.lineno} in {frame.name}"
    return ""


def wrap(code: str, what: str, error: BaseException, tree: str) -> GuestError:
    """Turn an exception of the pipeline into a ``GuestError`` that names ``what`` raised it."""
    if isinstance(error, GuestError):
        return error
    if isinstance(error, MemoryError):
        return GuestError("memory", f"{what} ran out of memory", place(error, tree))
    return GuestError(code, f"{what} raised {describe(error)}", place(error, tree))
