"""The judge of "policy before pod" (``audit.py``), on records that are written here. No cluster."""

from __future__ import annotations

import json
from pathlib import Path

from audit import BINDER, Order, asked, order
from cut_bed import RUNNER

LAUNCH, POD, POLICY, OTHER = "01a2-b", "01a2b-f00-1", "sluice-p-1", "sluice-p-2"
POLICIES = "ciliumnetworkpolicies"


def recorded(
    second: int,
    verb: str,
    name: str = POLICY,
    *,
    user: str = BINDER,
    resource: str = POLICIES,
    lasts: int = 0,
    code: int = 200,
    query: str = "",
    namespace: str = "tasks",
) -> str:
    """Return a line of the record: what began at a second of a minute, and lasted half of one."""
    return json.dumps(
        {
            "auditID": f"{second} {verb} {name} {user}",
            "stage": "ResponseComplete",
            "verb": verb,
            "user": {"username": user},
            "objectRef": {"resource": resource, "namespace": namespace, "name": name},
            "requestURI": f"/{namespace}/{resource}/{name}?{query}",
            "responseStatus": {"code": code},
            "requestReceivedTimestamp": f"2026-11-22T08:00:{second:02}.000000Z",
            "stageTimestamp": f"2026-11-22T08:00:{second + lasts:02}.500000Z",
        }
    )


def made(second: int = 9) -> str:
    """Return the line of a pod's creation."""
    return recorded(second, "create", POD, user=RUNNER, resource="pods", code=201)


def judged(folder: Path, *lines: str, worn: dict[str, str] | None = None) -> Order:
    """Hold the pod against a record, where it wears the policy if nothing else is said."""
    path = folder / "audit.log"
    path.write_text("".join(f"{line}\n" for line in lines))
    return order(path, LAUNCH, [POLICY], RUNNER, worn={POD: POLICY} if worn is None else worn)


def early(folder: Path, *lines: str) -> bool:
    """Say whether a pod that came at second 9 came too early."""
    found = judged(folder, *lines, made())
    assert found.early in ((), (POD,))
    return found.early == (POD,)


def test_the_judge_knows_a_pod_that_came_in_time(tmp_path: Path) -> None:
    """Made by the binder, or found by it, and read by it: by name, or in a list of all."""
    bound = recorded(1, "patch", code=201)
    assert not early(tmp_path, bound, recorded(3, "get"))
    assert not early(tmp_path, bound, recorded(3, "list", ""))
    assert not early(tmp_path, recorded(3, "get"))
    found_again = [recorded(1, "delete"), recorded(2, "create"), recorded(4, "get")]
    assert not early(tmp_path, *found_again)
    later = [recorded(1, "create"), recorded(3, "get"), made(), recorded(11, "delete")]
    assert judged(tmp_path, *later).early == ()


def test_the_judge_sees_a_pod_that_came_too_early(tmp_path: Path) -> None:
    """Before the policy was read back, or without one: each pod is named."""
    bound, read = recorded(1, "patch", code=201), recorded(3, "get")
    assert judged(tmp_path, bound, read, made(2)).early == (POD,)
    assert early(tmp_path, bound)
    assert early(tmp_path)
    assert early(tmp_path, bound, recorded(3, "get", OTHER))
    assert early(tmp_path, bound, recorded(3, "get", code=404))
    assert early(tmp_path, bound, recorded(8, "get", lasts=3)), "it was answered afterwards"
    assert early(tmp_path, bound, recorded(3, "get", namespace="elsewhere"))


def test_the_judge_believes_no_read_of_another_user(tmp_path: Path) -> None:
    """Whoever else read it has compared nothing."""
    bound = recorded(1, "patch", code=201)
    for user in (RUNNER, "bed-admin"):
        assert early(tmp_path, bound, recorded(3, "get", user=user))
        assert early(tmp_path, bound, recorded(3, "list", "", user=user))


def test_the_judge_sees_what_was_deleted_in_between(tmp_path: Path) -> None:
    """By anybody, by name or with all others; answered or not when the pod came; not read anew."""
    bound = [recorded(1, "patch", code=201), recorded(3, "get")]
    for user in (BINDER, "bed-admin"):
        assert early(tmp_path, *bound, recorded(5, "delete", user=user))
        assert early(tmp_path, *bound, recorded(5, "deletecollection", "", user=user))
    assert early(tmp_path, *bound, recorded(8, "delete", lasts=3))
    again = [*bound, recorded(5, "delete"), recorded(6, "patch", code=201)]
    assert early(tmp_path, *again)
    assert not early(tmp_path, *again, recorded(7, "get"))
    assert early(tmp_path, *bound, recorded(5, "delete"), recorded(7, "list", ""))
    assert not early(tmp_path, *bound, recorded(5, "delete", code=409))


def test_the_judge_sees_what_was_read_before_it_was_made(tmp_path: Path) -> None:
    """A read says nothing of what was made, or changed, after it began."""
    for verb in ("create", "patch", "update"):
        assert early(tmp_path, recorded(1, "get"), recorded(3, verb))
        assert early(tmp_path, recorded(1, "list", ""), recorded(3, verb))
        assert early(tmp_path, recorded(1, "create"), recorded(3, "get"), recorded(5, verb))
        assert early(tmp_path, recorded(1, verb, lasts=4), recorded(3, "get"))
        assert early(tmp_path, recorded(8, verb, lasts=3), recorded(8, "get"))


def test_the_judge_takes_no_list_for_more_than_it_shows(tmp_path: Path) -> None:
    """A list shows a policy that is known to be there, and that no selector may have left out."""
    assert early(tmp_path, recorded(3, "list", ""))
    chosen = recorded(3, "list", "", query="labelSelector=a%3Db")
    assert early(tmp_path, recorded(1, "create"), chosen)


def test_the_judge_counts_no_dry_run(tmp_path: Path) -> None:
    """It neither makes a policy nor ends it, and a dry pod is none."""
    dry = "fieldManager=sluice&dryRun=All"
    assert early(tmp_path, recorded(1, "patch", query=dry), recorded(3, "list", ""))
    bound = [recorded(1, "patch", code=201), recorded(3, "get")]
    assert not early(tmp_path, *bound, recorded(5, "delete", query=dry))
    tried = recorded(2, "create", POD, user=RUNNER, resource="pods", query=dry)
    assert judged(tmp_path, tried).early == ()


def test_the_judge_looks_at_the_label(tmp_path: Path) -> None:
    """The policy that it names has to be in force, whatever others are; a pod without is early."""
    bound = [recorded(1, "create"), recorded(3, "get")]
    assert judged(tmp_path, *bound, made(), worn={POD: OTHER}).early == (POD,)
    assert judged(tmp_path, *bound, made(), worn={}).early == (POD,)
    other = [recorded(1, "create", OTHER), recorded(3, "get", OTHER)]
    assert judged(tmp_path, *bound, *other, made(), worn={POD: OTHER}).early == ()
    unneeded = order(tmp_path / "audit.log", LAUNCH, [], RUNNER)
    assert unneeded.early == (POD,), "a pod that needs no policy has none"


def test_the_judge_sees_a_pod_that_came_twice(tmp_path: Path) -> None:
    """A name that was made more than once is named."""
    bound = [recorded(1, "create"), recorded(3, "get")]
    assert judged(tmp_path, *bound, made(4), made(5)).twice == (POD,)
    assert judged(tmp_path, *bound, made(4)).twice == ()


def test_each_request_of_the_accounts_counts_once(tmp_path: Path) -> None:
    """Whatever it was about, refused or dry or open still, after a place in the record."""
    path = tmp_path / "audit.log"
    path.write_text(recorded(1, "list", "", user=RUNNER, resource="pods") + "\n")
    mark = path.stat().st_size
    watch = recorded(2, "watch", "", user=RUNNER, resource="pods")
    lines = [
        watch.replace("ResponseComplete", "ResponseStarted"),
        watch,
        recorded(3, "create", "s", user=RUNNER, resource="secrets", code=409),
        recorded(3, "patch", query="dryRun=All"),
        recorded(4, "get", user="bed-admin"),
    ]
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    found = asked(path, mark, RUNNER, BINDER)
    assert found == {"watch pods": 1, "create secrets": 1, f"patch {POLICIES}": 1}
