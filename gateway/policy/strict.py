"""What a compiled policy must be before it may decide anything.

rego-cpp 1.5.2 compiles and then ignores: calls of functions that do not exist, variables that
nothing defines, rules under a mistyped name. Each would make a ``deny`` silently undefined, that
is: allow. So the compiled plan is read here, and refused for what could make it fail open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from gateway.policy.builtins import ALLOWED, arity
from gateway.policy.findings import Finding, nearest
from gateway.policy.flow import impossible
from gateway.policy.lexer import TEST_SUFFIX, withs
from gateway.policy.plan import DATA, INPUT, Function, Plan, Statement, known_kinds
from gateway.policy.shape import Shape

PACKAGES = ("admit", "task", "launch")
RESULTS = ("deny", "needs_approval")

_SHOWN = 60  # characters of a source line in a finding


@dataclass(frozen=True, slots=True)
class Sources:
    """The text of each module, by its path below the policy folder."""

    modules: Mapping[str, str]

    def line(self, file: str, line: int) -> str:
        """Return one line, shortened, for a message."""
        lines = self.modules.get(file, "").splitlines()
        text = lines[line - 1].strip() if 0 < line <= len(lines) else ""
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def entry_points(plan: Plan) -> tuple[str, ...]:
    """Return the rules that the gateway asks, of those that are defined."""
    names = [f"data.sluice.{package}.{result}" for package in PACKAGES for result in RESULTS]
    return tuple(name for name in names if name in plan.functions)


def check_policy(
    plan: Plan, sources: Sources, inputs: Mapping[str, Shape], data: Shape
) -> list[Finding]:
    """Check a policy without its tests. ``inputs`` holds the shape of ``input`` by package."""
    findings = list(_forms(plan)) + check_code(plan, sources)
    used: set[str] = set()
    for name in entry_points(plan):
        reached = reachable(plan, name)
        used |= reached
        functions = [plan.functions[item] for item in sorted(reached)]
        findings += impossible(plan, functions, inputs[name.split(".")[2]], data)
    for name, function in plan.functions.items():
        if name not in used:
            findings.append(Finding(*function.place, _unused(name)))
    return findings


def check_tests(plan: Plan, policy: Plan, sources: Sources) -> list[Finding]:
    """Check a policy compiled together with its tests; ``policy`` is the same without them."""
    findings = check_code(plan, sources)
    for name in policy.functions:
        for statement in plan.functions[name].walk() if name in plan.functions else ():
            if statement.file.endswith(TEST_SUFFIX):
                reason = f"a test file adds to {name}: what is tested has to be what decides"
                findings.append(Finding(statement.file, statement.line, reason))
    return findings


def check_code(plan: Plan, sources: Sources) -> list[Finding]:
    """Check every function: known statements, known callees, defined variables, no recursion."""
    findings: list[Finding] = []
    for function in plan.functions.values():
        findings += _undefined(function, sources)
        for statement in function.walk():
            for reason in _statement(plan, statement):
                findings.append(Finding(statement.file, statement.line, reason))
        if function.name in _callees_closed(plan, function.name):
            reason = f"{function.name} depends on itself; is a variable named like a package?"
            findings.append(Finding(*function.place, reason))
    return findings + list(_dropped(plan, sources))


def reachable(plan: Plan, name: str) -> set[str]:
    """Return a function and all that it can call."""
    return {name} | _callees_closed(plan, name)


def _callees_closed(plan: Plan, name: str) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for callee in _callees(plan.functions[waiting.pop()]):
            if callee in plan.functions and callee not in found:
                found.add(callee)
                waiting.append(callee)
    return found


def _callees(function: Function) -> Iterator[str]:
    for statement in function.walk():
        if statement.kind == "CallStmt":
            yield statement.fields["func"].removeprefix("g0.")


def _statement(plan: Plan, statement: Statement) -> Iterator[str]:
    if statement.kind not in known_kinds():
        yield f"compiles to {statement.kind}, which the gateway cannot check"
    if statement.kind == "WithStmt" and statement.fields["local"] not in (INPUT, DATA):
        yield "`with` may replace fields of input and data, and nothing else"
    if statement.kind != "CallStmt":
        return
    name, given = statement.fields["func"].removeprefix("g0."), len(statement.fields["args"])
    if name in plan.functions:
        wanted = len(plan.functions[name].params)
        if given != wanted:
            yield f"{name} takes {wanted - 2} arguments and is given {given - 2}"
    elif name not in ALLOWED:
        close = nearest(name, ALLOWED)
        yield f"{name} is not a function that policy may use" + (
            f"; did you mean {close}?" if close else ""
        )
    elif given != arity(name):
        yield f"{name} takes {arity(name)} arguments and is given {given}"


def _undefined(function: Function, sources: Sources) -> Iterator[Finding]:
    known = {INPUT, DATA, function.result, *function.params}
    for body in function.bodies:
        for statement in _unbound(body, set(known)):
            text = sources.line(statement.file, statement.line)
            reason = f"uses a name that nothing defines, so it would never hold: {text}"
            yield Finding(statement.file, statement.line, reason)


def _unbound(statements: Iterable[Statement], known: set[int]) -> Iterator[Statement]:
    """Find what reads a local before anything of the same scope gave it a value.

    What a block defines is not known after it: a name of a comprehension is no name outside. But
    ``with`` only wraps, and what the compiler resets in one block it reads in those after it.
    """
    for statement in statements:
        if not known.issuperset(statement.used()):
            yield statement
        inside = known if statement.kind == "WithStmt" else set(known)
        if statement.kind == "ScanStmt":
            inside.update(statement.given())
        else:
            known.update(statement.given())
        if statement.kind == "ResetLocalStmt":
            known.add(statement.fields["target"])
        for block in statement.blocks:
            scope = inside if statement.kind == "WithStmt" else set(inside)
            yield from _unbound(block, scope)
            resets = (inner for inner in block if inner.kind == "ResetLocalStmt")
            inside.update(inner.fields["target"] for inner in resets)


def _dropped(plan: Plan, sources: Sources) -> Iterator[Finding]:
    """Find each ``with`` that the compiler left out."""
    kept: dict[str, int] = {}
    for function in plan.functions.values():
        for statement in function.walk():
            if statement.kind == "WithStmt":
                kept[statement.file] = kept.get(statement.file, 0) + 1
    for path, source in sources.modules.items():
        lines = withs(source)
        if len(lines) > kept.get(path, 0):
            suspects = [n for n in lines if _plain_value(source, n)] or lines[:1]
            for line in suspects:
                reason = (
                    "the compiler drops a `with` whose value is a rule: give an object, a call "
                    "such as task(...), or a local variable"
                )
                yield Finding(path, line, reason)


def _plain_value(source: str, line: int) -> bool:
    text = source.splitlines()[line - 1]
    values = [part.partition(" as ")[2].strip() for part in re.split(r"\bwith\s", text)[1:]]
    return any(value[:1].isalpha() and "(" not in value for value in values)


def _forms(plan: Plan) -> Iterator[Finding]:
    for package in PACKAGES:
        if f"data.sluice.{package}.deny" not in plan.functions:
            reason = f"no rule is called deny in package sluice.{package}: nothing would be denied"
            yield Finding(f"{package}.rego", 0, reason)
    for name in entry_points(plan):
        function = plan.functions[name]
        sets = [s for s in function.bodies[0] if s.kind == "MakeSetStmt"]
        if not any(s.fields["target"] == function.result for s in sets):
            rule = name.rpartition(".")[2]
            yield Finding(*function.place, f"write `{rule} contains {{...}} if {{...}}`")


def _unused(name: str) -> str:
    package, _, rule = name.rpartition(".")
    close = nearest(rule, RESULTS)
    hint = f"; did you mean {close}?" if close else ""
    return f"nothing asks for {rule} of {package.removeprefix('data.')}{hint}"
