"""Luigi's own published examples, unchanged: they resolve, and they run as Luigi says they do.

They are fetched by ``scripts/luigi-examples.sh`` and not kept here; without a package index these
tests are skipped. Several examples write below ``/tmp``, so each runs in a mount namespace of its
own where ``/tmp`` and ``/var/tmp`` are folders of the test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TREE = ROOT / "build" / "luigi-examples"

Launch = tuple[str, str, dict[str, str]]

LUIGI_EXAMPLES: list[Launch] = [  # module, family, parameters: each ends in success
    ("examples.hello_world", "examples.HelloWorldTask", {}),
    ("examples.foo", "examples.Foo", {}),
    ("examples.dynamic_requirements", "Dynamic", {"seed": "31"}),  # the seed that yields fewest
    ("examples.top_artists", "Top10Artists", {"date_interval": "2026-W47"}),
    ("examples.elasticsearch_index", "FakeDocuments", {"date": "2026-11-16"}),
    ("examples.per_task_retry_policy", "SuccessTask1", {}),
]
END_OTHERWISE: list[tuple[Launch, str]] = [  # on purpose, with Luigi's status
    (("examples.wordcount", "WordCount", {"date_interval": "2026-W47"}), "MISSING_EXT"),
    (("examples.execution_summary_example", "examples.EntryPoint", {}), "MISSING_EXT"),
    (("examples.per_task_retry_policy", "examples.PerTaskRetryPolicy", {}), "FAILED"),
]
RESOLVE_ONLY: list[Launch] = [  # need a service, or draw their graph at random
    ("examples.foo_complex", "examples.Foo", {}),
    ("examples.top_artists", "ArtistToplistToDatabase", {"date_interval": "2026-W47"}),
    ("examples.elasticsearch_index", "IndexDocuments", {"date": "2026-11-16"}),
    ("examples.ftp_experiment_outputs", "ProcessingTask", {}),
    ("examples.ssh_remote_execution", "ProcessRemoteData", {}),
    ("examples.kubernetes", "PerlPi", {}),
]
NODES = {  # of the graph as it resolves; what is yielded at run time is not in it
    "examples.HelloWorldTask": 1,
    "examples.Foo": 11,
    "Dynamic": 1,
    "Top10Artists": 9,
    "FakeDocuments": 1,
    "SuccessTask1": 2,
    "WordCount": 8,
    "examples.EntryPoint": 218,
    "examples.PerTaskRetryPolicy": 6,
    "ArtistToplistToDatabase": 10,
    "IndexDocuments": 2,
    "ProcessingTask": 2,
    "ProcessRemoteData": 2,
    "PerlPi": 1,
}

PLAIN_LUIGI = """
import json, sys
from importlib import import_module
import luigi
from luigi.task_register import Register

module, family, parameters, run = json.loads(sys.argv[1])
import_module(module)
root = Register.get_task_cls(family).from_str_params(parameters)
found, waiting = {}, [root]
while waiting:
    task = waiting.pop()
    if task.task_id not in found:
        found[task.task_id] = task
        waiting += task.deps()
status = None
if run:
    result = luigi.build(
        [root], local_scheduler=True, workers=10, parallel_scheduling=True, detailed_summary=True
    )
    status = result.status.name
print(json.dumps({"nodes": len(found), "status": status}))
"""

PRIVATE_TMP = """
set -eu
private=$1; shift
while [ "$1" != -- ]; do  # what lies below /tmp and must stay in sight
    mkdir -p "$private$1"; mount --rbind "$1" "$private$1"; shift
done
shift
mount --rbind "$private/var/tmp" /var/tmp
mount --rbind "$private/tmp" /tmp
cd /tmp/work
exec "$@"
"""


def in_private_tmp(private: Path, *command: str) -> list[str]:
    """Return a command that sees ``private`` where ``/tmp`` and ``/var/tmp`` were."""
    (private / "tmp" / "work").mkdir(parents=True)
    (private / "var" / "tmp").mkdir(parents=True)
    needed = {str(Path(path).resolve()) for path in (ROOT, sys.prefix, sys.base_prefix)}
    kept = [path for path in sorted(needed) if path.startswith(("/tmp/", "/var/tmp/"))]  # noqa: S108 - the folders that are covered
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", PRIVATE_TMP, "sh"]
    return [*namespace, str(private), *kept, "--", *command]


@pytest.fixture(scope="session")
def tree() -> Path:
    """The fetched examples."""
    done = subprocess.run(
        [ROOT / "scripts" / "luigi-examples.sh"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert "DO NOT MATCH THE HASHES" not in done.stderr, done.stderr
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        pytest.skip(f"Luigi's examples cannot be fetched: {last}")
    return TREE


@pytest.fixture(scope="session")
def outcomes(
    tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """Every example under way at once, by its launch: most of their time they sleep."""
    folder = tmp_path_factory.mktemp("luigi-examples")
    probe = subprocess.run(
        in_private_tmp(folder / "probe", "true"), capture_output=True, text=True, check=False
    )
    if probe.returncode:
        pytest.skip(f"a private /tmp cannot be made here: {probe.stderr.strip()}")
    runs = [*LUIGI_EXAMPLES, *(launch for launch, _ in END_OTHERWISE)]
    with ThreadPoolExecutor(4) as pool:
        yield {
            json.dumps(launch): pool.submit(plain_luigi, tree, folder / str(number), launch, run)
            for number, (launch, run) in enumerate(
                [
                    *((launch, True) for launch in runs),
                    *((launch, False) for launch in RESOLVE_ONLY),
                ]
            )
        }


def plain_luigi(tree: Path, private: Path, launch: Launch, run: bool) -> dict[str, Any]:
    """Resolve an example, and run it where asked to, in a process of its own."""
    question = json.dumps([*launch, run])
    done = subprocess.run(
        in_private_tmp(private, sys.executable, "-B", "-c", PLAIN_LUIGI, question),
        env={"PATH": os.environ["PATH"], "HOME": "/tmp/work", "PYTHONPATH": str(tree)},  # noqa: S108 - a folder of the test
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome | {"files": sorted(path.name for path in private.rglob("*") if path.is_file())}


@pytest.mark.slow
@pytest.mark.parametrize("launch", LUIGI_EXAMPLES, ids=lambda launch: launch[0])
def test_example_resolves_and_runs(outcomes: Any, launch: Launch) -> None:
    """The example has the known graph and Luigi runs all of it, dynamic dependencies included."""
    outcome = outcomes[json.dumps(launch)].result()
    assert (outcome["nodes"], outcome["status"]) == (NODES[launch[1]], "SUCCESS")


@pytest.mark.slow
@pytest.mark.parametrize(("launch", "status"), END_OTHERWISE, ids=lambda value: str(value[0]))
def test_example_ends_as_luigi_says(outcomes: Any, launch: Launch, status: str) -> None:
    """Examples that miss an input or fail on purpose end with Luigi's own word for it."""
    outcome = outcomes[json.dumps(launch)].result()
    assert (outcome["nodes"], outcome["status"]) == (NODES[launch[1]], status)


@pytest.mark.slow
@pytest.mark.parametrize("launch", RESOLVE_ONLY, ids=lambda launch: f"{launch[0]}-{launch[1]}")
def test_example_resolves(outcomes: Any, launch: Launch) -> None:
    """Examples for services that are not here still resolve: no service is asked for that."""
    nodes = outcomes[json.dumps(launch)].result()["nodes"]
    if launch[0] == "examples.foo_complex":
        assert 4 <= nodes <= 60  # each import draws another graph
    else:
        assert nodes == NODES[launch[1]]


@pytest.mark.slow
def test_examples_write_where_they_say(outcomes: Any) -> None:
    """Absolute paths below /tmp end up in the test's folder: nothing of the machine is touched."""
    foo = outcomes[json.dumps(LUIGI_EXAMPLES[1])].result()
    dynamic = outcomes[json.dumps(LUIGI_EXAMPLES[2])].result()
    assert foo["files"] == [str(number) for number in range(10)]
    assert sum(name.startswith("Data_") for name in dynamic["files"]) == 7
