"""The guest in a pod resolves: the code that was decided upon, the same graph as in the sandbox."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from guest_bench import resolve as resolve_locally
from guest_pod import ODD, PodBench

from gateway.cluster.message import parse_graph
from gateway.graph.pod_resolver import image_code_digest

DAY = {"date": "2026-01-02"}
IMAGE = f"registry.example.com/shop@sha256:{'1' * 64}"
FIRST = """
import sys
assert sys.path[0] in __file__, sys.path
assert not [path for path in sys.path if path.endswith(".pyz")], sys.path
import luigi
class First(luigi.Task):
    pass
"""


async def test_pod_resolves_what_the_sandbox_resolves(shop: PodBench, tmp_path: Path) -> None:
    """The same records, whether the code comes in an archive or in the image, and its digest."""
    given = {**DAY, "note": "x"}
    tree = tmp_path / "source" / "shop"
    expected, _ = await resolve_locally(tree, "shop", "Report", given)
    order = shop.order("resolve", "shop", family="Report", parameters=given)
    there = {"tree": str(shop.tree), "image": IMAGE}
    both = image_code_digest(IMAGE, shop.source.digest)
    for code in ({}, {**there, "code_digest": both}, {**there, "code_digest": None}):
        said = shop.say({**order, **code})
        told = parse_graph(said.message, said.log, 1 << 20)
        assert told.answer == expected
        assert (told.code_digest, said.code) == (shop.source.digest, 0)
        assert said.log.startswith(b"\n-----BEGIN SLUICE GRAPH-----\n")  # and nobody warned


def test_pod_refuses_code_of_another_image(shop: PodBench) -> None:
    """The digest that was decided covers image and folder: neither may be another one."""
    order = shop.order("resolve", "shop", family="Report", parameters=DAY)
    for image, digest in (
        (f"{IMAGE}0", image_code_digest(IMAGE, shop.source.digest)),
        (IMAGE, image_code_digest(IMAGE, "0" * 64)),
        (IMAGE, shop.source.digest),
    ):
        said = shop.say({**order, "tree": str(shop.tree), "image": image, "code_digest": digest})
        told = parse_graph(said.message, said.log, 1 << 20)
        assert told.answer["error"]["code"] == "code_changed"


def test_pod_checks_bytes_before_it_imports_them(fresh: PodBench) -> None:
    """Another digest, a broken archive, names that lead elsewhere: nothing is imported."""
    order = fresh.order("resolve", "odd", family="Spy", parameters={})
    archive = fresh.folder / "code.zip"

    def refused(**changes: Any) -> str:
        said = fresh.say({**order, **changes})
        assert b"imported" not in said.log
        assert not list(fresh.folder.glob("pod-*/pipeline"))
        assert said.code == 1
        error = parse_graph(said.message, said.log, 1 << 20).answer["error"]
        assert error["code"] in ("code_changed", "source_unusable")
        return str(error["message"])

    assert "not the code that was decided upon" in refused(code_digest="0" * 64)
    assert "not the code" in refused(code_digest="0" * 64, tree=str(fresh.tree), image=IMAGE)
    for name in ("../odd.py", "/odd.py", "a//b.py", "./odd.py", ".hidden/x.py", "odd.pyc"):
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(name, ODD)
        assert "holds the name" in refused()
    archive.write_bytes(b"PK no zip")
    assert "broken" in refused()
    image = fresh.folder / "image"
    shutil.copytree(fresh.tree, image)
    image.chmod(0o755)
    (image / "__pycache__").mkdir()
    told = refused(tree=str(image), code_digest=None)
    assert "__pycache__ is not covered" in told
    assert "PYTHONDONTWRITEBYTECODE" in told
    assert "has no folder" in refused(tree="/nowhere", code_digest=None)


def test_pod_pins_luigi_from_within_the_archive(odd: PodBench) -> None:
    """Luigi's default would bring tasks of its own along, as it does where nothing is pinned."""
    said = odd.say(odd.order("resolve", "odd", family="RangeDaily", parameters={}))
    told = parse_graph(said.message, said.log, 1 << 20)
    assert told.answer["error"]["code"] == "family_unknown"


def test_pod_keeps_prints_out_of_the_graph(odd: PodBench) -> None:
    """A false frame before it, threads that print, and both streams of one pipe do no harm."""
    noisy = odd.resolve("odd", "Noisy", ("name",))
    assert len(noisy.nodes) == 21


def test_guest_archive_is_a_pods_process(tmp_path: Path) -> None:
    """The very command of a pod, with the paths of a pod, in a file system of its own."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "first.py").write_text(FIRST)
    bench = PodBench(tmp_path, source)
    order = bench.order("resolve", "first", family="First", parameters={}, tree=str(bench.tree))
    order["code_digest"] = None
    script = (
        "mount -t tmpfs tmpfs /dev && : > /dev/null && : > /dev/termination-log"
        ' && "$@" && printf "\\n" && cat /dev/termination-log'
    )
    command = [sys.executable, "-I", "-B", str(tmp_path / "guest.pyz")]
    ended = subprocess.run(
        ["/usr/bin/unshare", "-rm", "/bin/sh", "-c", script, "sh", *command],
        env={"SLUICE_TASK": json.dumps(order), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=30,
        check=True,
    )
    message = ended.stdout.splitlines()[-1].decode()
    told = parse_graph(message, ended.stdout, 1 << 20)
    assert [node["family"] for node in told.answer["nodes"]] == ["First"]
