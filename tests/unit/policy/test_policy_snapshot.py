"""Snapshots: which files are read, and what their digests stand for."""

from __future__ import annotations

from pathlib import Path

import pytest
from policy_kit import files, findings_of, module, write

from gateway.policy.findings import PolicyInvalid
from gateway.policy.snapshot import load_snapshot, policy_files, read_files, snapshot_of


def test_policy_snapshot_revision_names_rules_and_data() -> None:
    """Any change of a rule or of data is another revision; tests and file order are not."""
    first = snapshot_of(files()).version
    assert snapshot_of(dict(reversed(files().items()))).version == first
    assert snapshot_of(files(task_test__rego=module("task", "test_a if true\n"))).version == first
    rules = snapshot_of(files(task__rego=module("task") + "# a comment\n")).version
    assert (rules.revision, rules.data_digest) != (first.revision, "")
    assert rules.data_digest == first.data_digest
    title = files()["data/pipelines.yaml"].decode().replace("title: Report", "title: Other")
    data = snapshot_of(files(data__pipelines__yaml=title)).version
    assert data.rego_digest == first.rego_digest
    assert len({first.revision, rules.revision, data.revision}) == 3
    assert first.revision.startswith("sha256:")
    assert len(first.revision) == len("sha256:") + 16


def test_policy_snapshot_a_comment_in_data_is_no_revision() -> None:
    """Data counts by what it says, not by how it is written."""
    commented = "# groups\n" + files()["data/groups.yaml"].decode()
    first = snapshot_of(files()).version
    assert snapshot_of(files(data__groups__yaml=commented)).version == first


def test_policy_snapshot_reads_a_folder(tmp_path: Path) -> None:
    """What is read is what was written; other files and hidden ones are left alone."""
    write(tmp_path, {**files(), "README.md": b"x", ".git/config.yaml": b"x", ".x.rego": b"x"})
    assert read_files(tmp_path) == files()
    assert load_snapshot(tmp_path).version == snapshot_of(files()).version


def test_policy_snapshot_follows_links_inside_the_folder_only(tmp_path: Path) -> None:
    """A mounted ConfigMap is links within; a link that leads elsewhere is not read."""
    outside = write(tmp_path / "outside", {"evil.rego": b"package sluice.evil\n"})
    mount = tmp_path / "mount"
    write(mount / "..2026", files())
    (mount / "..data").symlink_to("..2026")
    for name in ("admit.rego", "task.rego", "launch.rego", "data"):
        (mount / name).symlink_to(f"..data/{name}")
    (mount / "evil.rego").symlink_to(outside / "evil.rego")
    (mount / "more").symlink_to(outside)
    (mount / "..2026" / "data" / "loop").symlink_to(".")
    assert read_files(mount) == files()


def test_policy_snapshot_refuses_what_it_cannot_name(tmp_path: Path) -> None:
    """File names enter digests and findings, so they are plain."""
    write(tmp_path, {**files(), "a b.rego": b"x"})
    with pytest.raises(PolicyInvalid, match="a file has a name outside"):
        read_files(tmp_path)
    assert len(policy_files(tmp_path)) == len(files()) + 1


def test_policy_snapshot_collects_all_findings_at_once() -> None:
    """Somebody who has three things to change is told all three."""
    broken = files(
        task__rego="package other\n",
        data__groups__yaml="analysts: {title: A, members: [adda]}\n",
        launch__rego=module("launch", 'x := "\\u0041"\n'),
    )
    assert [item.file for item in findings_of(broken)] == [
        "data/groups.yaml",
        "launch.rego",
        "task.rego",
    ]
    assert "not UTF-8" in str(findings_of({**files(), "task.rego": b"\xff"})[0])
    nothing = {path: data for path, data in files().items() if not path.endswith(".rego")}
    assert "holds no .rego files" in str(findings_of(nothing)[0])
