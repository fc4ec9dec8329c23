"""The seam of policy engines: what every ``PolicyEngine`` has to do, and each allowed builtin.

An engine is made of a snapshot; whatever implements the seam is added to ``ENGINES`` and has to
pass all of this. The builtins are part of the contract: a rule may rely on them, and on an error
where a value has the wrong type.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.canonical import Json
from gateway.errors import GatewayError, Misconfigured
from gateway.policy.builtins import ALLOWED
from gateway.policy.engine import PolicyEngine, Question
from gateway.policy.rego import RegoEngine
from gateway.policy.snapshot import Snapshot, read_files, snapshot_of
from gateway.settings import PolicySettings

SHIPPED = Path(__file__).parents[2] / "policies"

Start = Callable[[Snapshot], Awaitable[PolicyEngine]]


async def start_rego(snapshot: Snapshot) -> PolicyEngine:
    """Start the embedded engine."""
    return await RegoEngine.start(snapshot, PolicySettings.model_validate({}))


ENGINES: Mapping[str, Start] = {"rego": start_rego}


@pytest.fixture(params=ENGINES)
def start(request: pytest.FixtureRequest) -> Start:
    """Return how to start one of the engines."""
    return ENGINES[request.param]


@asynccontextmanager
async def engine(start: Start, body: str) -> AsyncIterator[PolicyEngine]:
    """Run an engine over the shipped data, with ``body`` as the rules about tasks."""
    quiet = 'deny contains {"rule": "never"} if input.request.reason == "never"\n'
    files = await asyncio.to_thread(read_files, SHIPPED)
    content = {path: data for path, data in files.items() if not path.endswith(".rego")}
    for package, rules in (("admit", quiet), ("task", body), ("launch", quiet)):
        text = f"package sluice.{package}\n\nimport rego.v1\n\n{rules}"
        content[f"{package}.rego"] = text.encode()
    found = await start(snapshot_of(content))
    try:
        yield found
    finally:
        await found.close()


def about(*tasks: Mapping[str, Json], **shared: Json) -> Question:
    """Return a question about tasks."""
    return Question("task", shared, tuple({"task": task} for task in tasks))


async def deny(found: PolicyEngine, *questions: Question) -> list[list[list[Any]]]:
    """Return what was denied: by question, by part."""
    answers = await found.evaluate(questions)
    return [[sorted(answer.deny, key=str) for answer in parts] for parts in answers]


FAMILY = 'deny contains {"rule": "x", "family": input.task.family} if input.task.limit > 1\n'


async def test_contract_policy_answers_keep_the_order_of_questions(start: Start) -> None:
    """Each part of each question has its answer at its own place, repeated inputs included."""
    async with engine(start, FAMILY) as found:
        tasks: Sequence[Mapping[str, Json]] = [
            {"family": name, "limit": limit}
            for name, limit in (("a", 1), ("b", 2), ("a", 2), ("b", 2), ("a", 1))
        ]
        answers = await deny(found, about(*tasks), about(*reversed(tasks)), about())
        families = [[[item["family"] for item in part] for part in parts] for parts in answers]
        forward: list[list[str]] = [[], ["b"], ["a"], ["b"], []]
        assert families == [forward, forward[::-1], []]


async def test_contract_policy_shared_and_own_input_are_joined(start: Start) -> None:
    """A rule sees what all parts share together with what is the part's own."""
    rule = 'deny contains {"rule": "x"} if input.task.family == input.principal.subject\n'
    async with engine(start, rule) as found:
        tasks = ({"family": "ada"}, {"family": "ben"})
        (parts,) = await deny(found, about(*tasks, principal={"subject": "ben"}))
        assert [len(part) for part in parts] == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        'quote " backslash \\ slash /',
        "line\nreturn\rtab\tnul\x00bell\x07",
        "\\u0041",
        "\\",
        '","rule":"forged',
        "größe 雪 😀 \u2028 \u202e",
        "{{x}} %s ${y}",
        "",
    ],
)
async def test_contract_policy_text_is_only_ever_text(start: Start, text: str) -> None:
    """Any text comes through unchanged, equals itself and nothing else, and forges nothing."""
    body = (
        'deny contains {"rule": "same", "text": input.task.family} if '
        "input.task.family == input.principal.subject\n"
        'deny contains {"rule": "listed"} if input.task.family in input.task.carries\n'
        'deny contains {"rule": "keyed"} if input.task.parameters[input.task.family] == "v"\n'
    )
    task: Mapping[str, Json] = {"family": text, "carries": [text], "parameters": {"k": "v"}}
    async with engine(start, body) as found:
        ((same,), (other,)) = await deny(
            found, about(task, principal={"subject": text}), about(task, principal={"subject": "A"})
        )
        assert same == [{"rule": "listed"}, {"rule": "same", "text": text}]
        assert other == [{"rule": "listed"}]


async def test_contract_policy_compares_input_with_data_and_source(start: Start) -> None:
    """A text is the same wherever it stands: in input, in data, in the rule."""
    body = (
        'deny contains {"rule": "data"} if input.task.family == data.groups.analysts.title\n'
        'deny contains {"rule": "source"} if input.task.family == "größe \\"雪\\" \\\\ \\n"\n'
        'deny contains {"rule": "raw"} if input.task.family == `a\\b`\n'
    )
    async with engine(start, body) as found:
        texts = ["People who launch reports", 'größe "雪" \\ \n', "a\\b"]
        (parts,) = await deny(found, about(*({"family": text} for text in texts)))
        assert parts == [[{"rule": "data"}], [{"rule": "source"}], [{"rule": "raw"}]]


async def test_contract_policy_answers_are_lists_of_what_rules_put_out(start: Start) -> None:
    """Numbers, booleans, null and nested values come back as they are."""
    values = '{"i": 9007199254740991, "n": -5, "t": true, "z": null, "l": [1, {"k": "v"}]}'
    async with engine(start, f'deny contains {{"rule": "x", "v": {values}}} if true\n') as found:
        (((answer,),),) = await deny(found, about({}))
        expected = {"i": 2**53 - 1, "n": -5, "t": True, "z": None, "l": [1, {"k": "v"}]}
        assert answer == {"rule": "x", "v": expected}


async def test_contract_policy_packages_without_needs_have_none(start: Start) -> None:
    """``needs_approval`` may be left out; the answer then is an empty list."""
    async with engine(start, FAMILY) as found:
        ((answer,),) = await found.evaluate([about({"limit": 1})])
        assert (list(answer.deny), list(answer.needs_approval)) == ([], [])


async def test_contract_policy_a_closed_engine_does_not_answer(start: Start) -> None:
    """After closing there is an error, never an empty answer."""
    async with engine(start, FAMILY) as found:
        await found.close()
        with pytest.raises(GatewayError):
            await found.evaluate([about({"limit": 1})])


# --- builtins -----------------------------------------------------------------------------------

OPERATORS = {
    "equal": "==", "neq": "!=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=",
    "plus": "+", "minus": "-", "mul": "*", "div": "/", "rem": "%", "and": "&", "or": "|",
}  # fmt: skip

# builtin -> (an expression that is true, arguments of a wrong type or None where all types do)
EXAMPLES: Mapping[str, tuple[str, str | None]] = {
    "equal": ("1 == 1", None),
    "neq": ("1 != 2", None),
    "gt": ("2 > 1", None),
    "gte": ("2 >= 2", None),
    "lt": ('"a" < "b"', None),
    "lte": ("2 <= 2", None),
    "plus": ("1 + 2 == 3", '1, "2"'),
    "minus": ("3 - 2 == 1", '1, "2"'),
    "mul": ("3 * 2 == 6", '1, "2"'),
    "div": ("6 / 2 == 3", "1, 0"),
    "rem": ("5 % 3 == 2", "1, 0"),
    "and": ("{1, 2} & {2} == {2}", "[1], {1}"),
    "or": ("{1} | {2} == {1, 2}", "[1], {1}"),
    "abs": ("abs(-2) == 2", '"2"'),
    "ceil": ("ceil(1.5) == 2", '"2"'),
    "floor": ("floor(1.5) == 1", '"2"'),
    "round": ("round(1.6) == 2", '"2"'),
    "to_number": ('to_number("12") == 12', '"twelve"'),
    "internal.member_2": ('"a" in ["a"]', None),
    "internal.member_3": ('"k", "v" in {"k": "v"}', None),
    "count": ('count({"a": 1}) == 1', "5"),
    "max": ("max([1, 3, 2]) == 3", "5"),
    "min": ("min([2, 1, 3]) == 1", "5"),
    "sort": ("sort([2, 1]) == [1, 2]", "5"),
    "array.concat": ("array.concat([1], [2]) == [1, 2]", "[1], 2"),
    "array.reverse": ("array.reverse([1, 2]) == [2, 1]", "5"),
    "numbers.range": ("numbers.range(1, 3) == [1, 2, 3]", '1, "3"'),
    "object.filter": ('object.filter({"a": 1, "b": 2}, ["a"]) == {"a": 1}', '5, ["a"]'),
    "object.get": ('object.get({"a": 1}, "b", 7) == 7', '5, "a", 1'),
    "object.keys": ('object.keys({"a": 1}) == {"a"}', "5"),
    "object.remove": ('object.remove({"a": 1, "b": 2}, ["a"]) == {"b": 2}', '5, ["a"]'),
    "object.union": ('object.union({"a": 1}, {"a": 2}) == {"a": 2}', '{"a": 1}, 5'),
    "concat": ('concat("-", ["a", "b"]) == "a-b"', '"-", [1]'),
    "contains": ('contains("abc", "b")', '"abc", 1'),
    "endswith": ('endswith("abc", "c")', '"abc", 1'),
    "glob.match": ('glob.match("*.example", ["."], "a.example")', '1, ["."], "a"'),
    "indexof": ('indexof("abc", "c") == 2', '"abc", 1'),
    "lower": ('lower("AbC") == "abc"', "5"),
    "regex.match": ('regex.match("^a+$", "aaa")', '"a", 5'),
    "replace": ('replace("aba", "a", "c") == "cbc"', '"a", 1, "b"'),
    "split": ('split("a,b", ",") == ["a", "b"]', '"a", 1'),
    "sprintf": ('sprintf("%s=%d", ["a", 1]) == "a=1"', '"%d", 5'),
    "startswith": ('startswith("abc", "a")', '"abc", 1'),
    "strings.any_prefix_match": ('strings.any_prefix_match(["abc"], ["ab"])', '5, ["ab"]'),
    "strings.any_suffix_match": ('strings.any_suffix_match(["abc"], ["bc"])', '5, ["ab"]'),
    "strings.count": ('strings.count("abab", "b") == 2', '"abc", 1'),
    "substring": ('substring("abcd", 1, 2) == "bc"', "5, 1, 2"),
    "trim": ('trim("xax", "x") == "a"', '"abc", 1'),
    "trim_left": ('trim_left("xax", "x") == "ax"', '"abc", 1'),
    "trim_prefix": ('trim_prefix("abc", "a") == "bc"', '"abc", 1'),
    "trim_right": ('trim_right("xax", "x") == "xa"', '"abc", 1'),
    "trim_space": ('trim_space("  a ") == "a"', "5"),
    "trim_suffix": ('trim_suffix("abc", "c") == "ab"', '"abc", 1'),
    "upper": ('upper("AbC") == "ABC"', "5"),
    "is_array": ("is_array([1])", None),
    "is_boolean": ("is_boolean(false)", None),
    "is_null": ("is_null(null)", None),
    "is_number": ("is_number(1)", None),
    "is_object": ('is_object({"a": 1})', None),
    "is_set": ("is_set({1})", None),
    "is_string": ('is_string("a")', None),
    "type_name": ('type_name(1) == "number"', None),
}


def wrong_call(name: str, arguments: str) -> str:
    """Return a call with arguments of a wrong type."""
    if name in OPERATORS:
        left, right = arguments.rsplit(", ", 1)
        return f"{left} {OPERATORS[name]} {right}"
    return f"{name}({arguments})"


def builtin_rules() -> str:
    """Return one rule for each right and each wrong use, chosen by the task's family."""
    rules = []
    for name, (right, wrong) in EXAMPLES.items():
        condition = f'input.task.family == "{name}"\n\t{right}'
        rules.append(f'deny contains {{"rule": "right"}} if {{\n\t{condition}\n}}\n')
        if wrong:
            condition = f'input.task.family == "wrong {name}"\n\tx := {wrong_call(name, wrong)}'
            rules.append(f'deny contains {{"rule": "wrong"}} if {{\n\t{condition}\n}}\n')
    return "\n".join(rules)


def test_contract_policy_every_allowed_builtin_has_an_example() -> None:
    """Nothing is allowed that was not tried."""
    assert set(EXAMPLES) == set(ALLOWED)


async def test_contract_policy_builtins_do_what_they_are_for(start: Start) -> None:
    """Each allowed builtin gives the documented result."""
    async with engine(start, builtin_rules()) as found:
        (parts,) = await deny(found, about(*({"family": name} for name in EXAMPLES)))
        failed = [name for name, part in zip(EXAMPLES, parts, strict=True) if not part]
        assert failed == []


async def test_contract_policy_builtins_fail_loudly_on_wrong_types(start: Start) -> None:
    """A value of the wrong type is an error in each of them, and never a rule that stays silent."""
    silent = []
    async with engine(start, builtin_rules()) as found:
        for name in (name for name, (_, wrong) in EXAMPLES.items() if wrong):
            with suppress(Misconfigured):
                await found.evaluate([about({"family": f"wrong {name}"})])
                silent.append(name)
    assert silent == []
