"""An entry's bytes: what is cleaned, what is refused, and the MAC beside it.

Text in an entry may come from anybody. It can neither start a line of its own nor reorder what a
terminal shows: such characters appear as visible escapes. It cannot fill the log either: long
texts are cut with a mark, and an entry that is still too large is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from gateway.canonical import Json, encode
from gateway.clock import new_id, now, rfc3339
from gateway.decisionlog import events
from gateway.decisionlog.log import Entry
from gateway.errors import Rejected

MAX_TEXT = 4096  # characters, the mark of a cut included
MAX_ENTRY = 256 * 1024  # bytes
MAX_DEPTH = 32

_MAC_V1 = b"sluice-leaf-v1\0"
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: new lines, terminal escapes
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what reorders text as it is shown
    "\ud800-\udfff]"  # lone surrogates, which no UTF-8 can hold
)


def clean(value: Json, depth: int = 0) -> Json:
    """Return a copy of ``value`` whose texts are safe to show and bounded.

    Raises ``Rejected`` when it nests deeper than 32 levels, or two keys become one.
    """
    if isinstance(value, str):
        return _clean_text(value)
    if depth > MAX_DEPTH:
        raise Rejected("entry_too_deep", f"a log entry nests at most {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return _clean_object(value, depth)
    if isinstance(value, list | tuple):
        return [clean(item, depth + 1) for item in value]
    return value


def _clean_object(value: Mapping[str, Json], depth: int = 0) -> dict[str, Json]:
    copy = {_clean_text(key): clean(item, depth + 1) for key, item in value.items()}
    if len(copy) != len(value):
        raise Rejected("entry_keys_collide", "two keys of a log entry are the same when shown")
    return copy


def clean_entry(entry: Entry) -> Entry:
    """Return a copy of ``entry`` that is fit to be logged, and that nobody else holds.

    Raises ``ValueError`` for an unknown event, and what ``clean`` raises.
    """
    events.code(entry.event)
    return Entry(
        event=entry.event,
        body=_clean_object(entry.body),
        launch_id=entry.launch_id and _clean_text(entry.launch_id),
        decision_id=entry.decision_id and _clean_text(entry.decision_id),
        requested_by=None if entry.requested_by is None else _clean_object(entry.requested_by),
    )


def encode_entry(entry: Entry, seq: int, labels: Json) -> tuple[str, bytes]:
    """Return the id and the canonical bytes of a cleaned ``entry`` at its place in the log."""
    entry_id = new_id()
    raw = encode(
        {
            "v": 1,
            "seq": seq,
            "id": entry_id,
            "timestamp": rfc3339(now()),
            "code": events.code(entry.event),
            "event": entry.event,
            "labels": labels,
            "launch_id": entry.launch_id,
            "decision_id": entry.decision_id,
            "requested_by": entry.requested_by,
            "body": entry.body,
        }
    )
    if len(raw) > MAX_ENTRY:
        raise Rejected(
            "entry_too_large",
            f"this would take {len(raw)} bytes of the log; an entry holds at most {MAX_ENTRY}",
            step="record",
        )
    return entry_id, raw


def authentication(key: bytes, seq: int, raw: bytes) -> bytes:
    """Return the MAC that only the writer's key can make, for these bytes at this place."""
    return hmac.digest(key, _MAC_V1 + seq.to_bytes(8, "big") + raw, hashlib.sha256)


def _clean_text(text: str) -> str:
    if type(text) is str and len(text) <= MAX_TEXT and text.isprintable():
        return text  # nearly every text, and the quickest test
    shown = _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", str(text))
    if len(shown) <= MAX_TEXT:
        return shown
    mark = f"... [cut: {len(text)} characters]"
    return shown[: MAX_TEXT - len(mark)] + mark
