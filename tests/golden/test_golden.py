"""Request -> answer and log entry, whole: a change in either is a change that users see.

Each file in ``cases/`` holds who asks, what, and what must come back. Ids, times, digests and
durations are replaced by their kind. ``SLUICE_GOLDEN=write pytest tests/golden`` writes what
comes back now; read the difference before committing it.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from gateway_bed import Served

from gateway.commands.client import ClientError

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
KINDS = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "<time>"),
    (re.compile(r"hmac-sha256:[0-9a-f]{64}"), "<masked>"),
    (re.compile(r"sha256:[0-9a-f]{16}"), "<revision>"),
    (re.compile(r"\bp-[0-9a-f]{32}"), "<profile>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<digest>"),
)


def normal(value: Any) -> Any:
    """Return a JSON value with everything that differs from run to run replaced by its kind."""
    text = json.dumps(value, sort_keys=True)
    for pattern, kind in KINDS:
        text = pattern.sub(kind, text)
    text = re.sub(r'("(?:resolve_ms|seq)": )\d+', r"\g<1>0", text)
    found = json.loads(text)
    if "tasks" in found:  # in topological order, and among equals in that of keyed digests
        found["tasks"] = sorted(found["tasks"], key=json.dumps)
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
async def test_request_gives_answer_and_entry(served: Served, path: Path) -> None:
    """The answer and the decision's log entry are exactly those of the case."""
    case = json.loads(path.read_text())
    who = case["as"]
    async with served.client(who["subject"], who["client"]) as client:
        try:
            answer = await client.post(case["route"], case["request"])
        except ClientError as error:
            answer = error.problem
    code = "SLC1002I" if case["route"] == "/v1/plans" else "SLC100[345]."
    newest = await served.gateway.parts.log.newest(20)
    entries = [entry for entry in newest if re.fullmatch(code, entry.value["code"])]
    found = {"answer": normal(answer), "entry": normal(entries[0].value)}
    if os.environ.get("SLUICE_GOLDEN") == "write":
        path.write_text(json.dumps({**case, **found}, indent=2) + "\n")
    assert {"answer": case.get("answer"), "entry": case.get("entry")} == found
