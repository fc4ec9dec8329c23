"""Ask each thing once: questions that rules cannot tell apart share one answer.

What rules can read at all is known from their compiled form (``reads.py``); inputs that agree in it
get the same answer, because rules are pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.canonical import Json
from gateway.policy.engine import Question
from gateway.policy.reads import Path, value_at

Place = tuple[int, int]  # which question, which of its parts
Places = list[list[Place]]


def distinct(
    questions: Sequence[Question], read: Mapping[str, Sequence[Path]]
) -> tuple[list[Question], Places]:
    """Return the questions with each distinct part once, and where each part's answer will be.

    ``read`` holds the paths that the rules of a package read.
    """
    seen: dict[tuple[str, str, str], Place] = {}
    left: list[Question] = []
    places: Places = []
    for at, question in enumerate(questions):
        paths = read[question.package]
        shared = _told(question.shared, [p for p in paths if not p or p[0] in question.shared])
        own = [path for path in paths if not path or path[0] not in question.shared]
        parts: list[Mapping[str, Json]] = []
        found: list[Place] = []
        for part in question.parts:
            here = (at, len(parts))
            place = seen.setdefault((question.package, shared, _told(part, own)), here)
            if place == here:
                parts.append(part)
            found.append(place)
        left.append(replace(question, parts=parts))
        places.append(found)
    return left, places


def _told(value: Mapping[str, Any], paths: Sequence[Path]) -> str:
    return json.dumps([value_at(value, path) for path in paths], sort_keys=True)
