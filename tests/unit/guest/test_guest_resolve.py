"""``resolve``: the guest in its sandbox, asked for a graph."""

from __future__ import annotations

from pathlib import Path

from guest_bench import copy_of, resolve

DAY = {"date": "2026-01-02"}


def write(folder: Path, **files: str) -> Path:
    """Write a pipeline of some modules."""
    tree = folder / "tree"
    tree.mkdir()
    for name, text in files.items():
        (tree / f"{name}.py").write_text(text)
    return tree


async def test_resolve_gives_every_task_of_a_pipeline(tmp_path: Path) -> None:
    """Kinds, edges, egress, scheduling and possible tasks of the shop."""
    tree = copy_of("shop", tmp_path)
    answer, printed = await resolve(tree, "shop", "Report", {**DAY, "note": "x"})
    nodes = {item["family"]: item for item in answer["nodes"]}
    assert {family: item["kind"] for family, item in nodes.items()} == {
        "Report": "wrapper",
        "Split": "task",
        "Clean": "task",
        "Raw": "external",
        "Part": "possible",
    }
    assert nodes["Clean"]["egress"] == ["warehouse"]
    assert nodes["Clean"]["resources"] == {"warehouse": 1}
    assert (nodes["Clean"]["priority"], nodes["Clean"]["retry_count"]) == (5, 3)
    assert nodes["Clean"]["parameters"]["token"] == {"value": "t0ken", "private": True}
    assert nodes["Split"]["may_yield"] == [["Part", 3]]
    assert answer["nodes"][answer["root"]]["family"] == "Report"
    assert printed == ""


async def test_resolve_checks_the_code_before_it_imports_it(tmp_path: Path) -> None:
    """One byte more than was decided upon, or a file that no digest covers: nothing is run."""
    tree = write(tmp_path, shout='print("imported")\n')
    answer, printed = await resolve(tree, "shout", "X", {}, digest="0" * 64)
    assert answer["error"]["code"] == "code_changed"
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "shout.cpython-311.pyc").write_bytes(b"poison")
    answer, again = await resolve(tree, "shout", "X", {})
    assert answer["error"]["code"] == "code_changed"
    assert "shout" in answer["error"]["message"] or "__pycache__" in answer["error"]["message"]
    assert printed + again == ""


CONFIGURED = """
import luigi, luigi.configuration
class Job(luigi.Task):
    host = luigi.Parameter(default="safe")
    def requires(self):
        luigi.configuration.add_config_path(__file__.replace("job.py", "own.cfg"))
        return Inner()
class Inner(luigi.Task):
    host = luigi.Parameter(default="safe")
"""


async def test_resolve_lets_no_configuration_change_a_parameter(tmp_path: Path) -> None:
    """A luigi.cfg in the tree or the workspace means nothing; nor does client.cfg or TOML.

    Also not when the pipeline itself has Luigi read its configuration again.
    """
    tree = write(tmp_path, job=CONFIGURED)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for folder in (tree, workspace):
        for name in ("luigi.cfg", "client.cfg"):
            (folder / name).write_text("[Job]\nhost=evil\n[Inner]\nhost=evil\n")
        (folder / "own.cfg").write_text("[Other]\nhost=fine\n")
        (folder / "luigi.toml").write_text('[Job]\nhost="evil"\n')
    answer, _ = await resolve(tree, "job", "Job", {}, workspace=workspace)
    assert [item["parameters"]["host"]["value"] for item in answer["nodes"]] == ["safe", "safe"]


async def test_resolve_points_at_the_authors_own_line(tmp_path: Path) -> None:
    """Of a traceback through Luigi, the line that the author wrote is what they are told."""
    tree = write(
        tmp_path,
        pipe="import luigi, helper\nclass Job(luigi.Task):\n"
        "    def requires(self):\n        return helper.find(3)\n",
        helper="def find(n):\n    return [][n]\n",
    )
    answer, _ = await resolve(tree, "pipe", "Job", {})
    assert answer["error"] == {
        "code": "requires_failed",
        "message": "Job.requires() raised IndexError: list index out of range",
        "where": "helper.py:2 in find",
    }


async def test_resolve_explains_what_import_raised(tmp_path: Path) -> None:
    """A syntax error and a missing module, each with its place."""
    tree = write(tmp_path, broken="x = (\n", lacking="import nowhere_to_be_found\n")
    answer, _ = await resolve(tree, "broken", "Job", {})
    assert answer["error"]["code"] == "import_failed"
    assert answer["error"]["where"] == "broken.py:1"
    answer, _ = await resolve(tree, "lacking", "Job", {})
    assert "No module named 'nowhere_to_be_found'" in answer["error"]["message"]
    assert answer["error"]["where"] == "lacking.py:1 in <module>"


async def test_resolve_cuts_arguments_out_of_luigis_messages(tmp_path: Path) -> None:
    """Luigi's own errors quote every argument of the call, secrets too."""
    tree = write(
        tmp_path,
        pipe="import luigi\nclass Job(luigi.Task):\n    def requires(self):\n"
        "        return Inner(password='hunter2')\n"
        "class Inner(luigi.Task):\n    password = luigi.Parameter()\n"
        "    n = luigi.IntParameter()\n",
    )
    answer, _ = await resolve(tree, "pipe", "Job", {})
    assert "requires the 'n' parameter" in answer["error"]["message"]
    assert "hunter2" not in str(answer)


async def test_resolve_prefers_the_pipelines_own_modules(tmp_path: Path) -> None:
    """A module of the tree comes before one of the same name in site-packages."""
    tree = write(
        tmp_path,
        pipe="import luigi, yaml\nclass Job(luigi.Task):\n    who = luigi.Parameter(yaml.WHO)\n",
        yaml="WHO = 'ours'\n",
    )
    answer, _ = await resolve(tree, "pipe", "Job", {})
    assert answer["nodes"][0]["parameters"]["who"]["value"] == "ours"
