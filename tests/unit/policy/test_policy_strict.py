"""Each way in which a policy could fail open without a word, refused at load with its line.

All go through the real compiler: several of these it accepts silently, and some end its process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from policy_kit import compile_all, files, findings_of, module

from gateway.policy.findings import Finding
from gateway.policy.lexer import tokens, withs


def task(body: str) -> dict[str, bytes]:
    """Return the sample policy with a task module of this body, which begins in line 5."""
    return files(task__rego=module("task", body))


def denies(condition: str) -> dict[str, bytes]:
    """Return the sample policy with one denial of tasks under this condition, in line 5."""
    return task(f'deny contains {{"rule": "x"}} if {{ {condition} }}\n')


def read_traps() -> dict[str, tuple[str, str, str]]:
    """Return place, part of the reason, and body of each trap in ``traps.txt``, by its name."""
    found = {}
    text = (Path(__file__).parent / "traps.txt").read_text()
    for block in text.split("\n== ")[1:]:
        name, expected, body = re.split(r"\n(?:--\n)?", block, maxsplit=2)
        place, _, reason = expected.partition(": ")
        found[name] = (place, reason, body.rstrip("\n") + "\n")
    return found


TRAPS = read_traps()


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[Finding, ...]]:
    """Return the findings of every trap, and of a few policies that are good."""
    return compile_all({name: task(body) for name, (_, _, body) in TRAPS.items()} | GOOD)


@pytest.mark.parametrize("name", TRAPS)
def test_policy_strict_refuses_what_could_fail_open(
    name: str, found: dict[str, tuple[Finding, ...]]
) -> None:
    """A policy that could silently allow is refused, with file, line and reason."""
    place, reason, _ = TRAPS[name]
    texts = [str(finding) for finding in found[name]]
    assert any(text.startswith(place + ": ") and reason in text for text in texts), texts


EVERYTHING = """\
input.principal.owner != "x"
some m in input.chain; m.kind == "agent"
input.request.parameters.any_name_at_all
input.request.tasks > 3
input.pipeline.standing_approval.until > input.time
input.history.approved_code_digests[0] == input.pipeline.code_digest
some d in input.task.destinations; d.ports[_].endPort == 443; d.tenancy == "shared"
some d in input.task.destinations; "10.0.0.0/8" in d.except
input.task.destinations[_].kind == "kube-apiserver"
is_null(input.pipeline.image); input.pipeline.standing_approval == null
input.pipeline.pod.millicores > 500; input.pipeline.pod.secrets[_].env == "X"
some v in input.pipeline.pod.volumes; "personal" in v.classes
input.task.resources.anything > 3
data.pipelines[input.pipeline.name].workspace.keep
data.limits.tiers[input.pipeline.tier].max_tasks > 2
groups := data.groups; groups.analysts.members
"""
LIBRARY = module("lib", 'open(d) if d.tenancy == "internet"\n\nnames := ["a"]\n')
USING = (
    "some d in input.task.destinations; data.sluice.lib.open(d); d.name in data.sluice.lib.names"
)

GOOD: Mapping[str, Mapping[str, bytes]] = {
    "the sample": files(),
    "all input there is": denies(EVERYTHING),
    "rules of another module": {**denies(USING), "lib.rego": LIBRARY.encode()},
    "two modules of one package": files(
        more__rego=module("task", 'deny contains {"rule": "y"} if input.task.limit > 5\n')
    ),
    "a default beside a rule": task(
        "default far := false\n\nfar if input.task.limit > 5\n\n"
        'deny contains {"rule": "x"} if far\n'
    ),
    "every form there is": task(
        """\
deny contains {"rule": "x"} if { f("a", 3) == 2 }

f("a", x) := y if { x > 1; y := 2 } else := 5 if { x > 7 } else := x

deny contains {"rule": "y"} if { [a, b] := input.task.carries; a == b }

deny contains {"rule": "z", "key": k} if { some k, v in input.task.parameters; v == k }

deny contains {"rule": "w"} if { {"p": q} := input.task.parameters; q == "1" }

deny contains {"rule": "v"} if { x := {k: v | some k, v in input.task.parameters}; x.a }

deny contains {"rule": "u"} if {
	some x in input.task.destinations
	y := [z.port | some z in x.ports; z.endPort > 1]
	count(y) > 2
	every q in y { q > count(x.accepts) }
	not x.known
	x.name in {"a", "b"}
}

deny contains item if { some item in others }

others contains {"rule": "t"} if input.task.kind == "external"

default quiet := false

quiet if input.task.limit == 1

deny contains {"rule": "s"} if { not quiet; some i; input.task.carries[i] == "x"; i > 1 }
"""
    ),
    "a variable named like the module": denies('some task in input.task.carries; task == "x"'),
}


@pytest.mark.parametrize("name", GOOD)
def test_policy_strict_accepts_ordinary_rego(
    name: str, found: dict[str, tuple[Finding, ...]]
) -> None:
    """What a reviewer may reasonably write is not refused."""
    assert found[name] == ()


def test_policy_strict_refuses_helpers_that_nothing_uses() -> None:
    """A rule that nothing asks for is a rule that its author believes to be in force."""
    content = files(lib__rego=module("lib", "f(x) if x == 1\n"))
    (finding,) = compile_all({"unused": content})["unused"]
    assert str(finding) == "lib.rego:5: nothing asks for f of sluice.lib"


@pytest.mark.parametrize(
    ("source", "line", "reason"),
    [
        ("package other\n", 1, "`package sluice.NAME`"),
        ("package sluice\n", 1, "`package sluice.NAME`"),
        ("# nothing\n", 0, "`package sluice.NAME`"),
        ("package sluice.lib\nimport data.x\n", 2, "only `import rego.v1`"),
        ("package sluice.lib\nimport rego.v1 as y\n", 2, "only `import rego.v1`"),
        ("package sluice.lib\nimport future.keywords.in\n", 2, "only `import rego.v1`"),
        ("package sluice.lib\n\nimport input.task as t\n", 3, "only `import rego.v1`"),
        ('package sluice.lib\nx := "\\u0041"\n', 2, "write the character itself"),
        ('package sluice.lib\nx := "a\\/b"\n', 2, "write the character itself"),
        ("package sluice.lib\nx if y with input.a as 1\n", 2, "`with` belongs into tests"),
        ('package sluice.lib\nx := "open\n', 2, "a text that does not end"),
    ],
)
def test_policy_strict_refuses_by_text(source: str, line: int, reason: str) -> None:
    """What the compiled form no longer shows is refused by the text."""
    found = findings_of(files(lib__rego=source))
    assert [(item.file, item.line) for item in found] == [("lib.rego", line)]
    assert reason in found[0].reason


def test_policy_strict_text_and_comments_are_no_code() -> None:
    """A word in a text, a comment or a field's name is not taken for code."""
    source = (
        "package sluice.lib\n# import data.x with\n"
        'x := "import data.y with \\\\u"\ny := `\\u0041 with`\nz if input.with.import\n'
    )
    assert findings_of(files(lib__rego=source)) == ()
    assert withs(source) == []


def test_policy_strict_tokens_know_their_lines() -> None:
    """Texts over several lines do not shift what follows."""
    found = tokens("a\n`x\ny` b # c\nd")
    assert [(token.value, token.line) for token in found] == [
        ("a", 1),
        ("`x\ny`", 2),
        ("b", 3),
        ("d", 4),
    ]
