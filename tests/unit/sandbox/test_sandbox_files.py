"""What sandboxed code can and cannot do with files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sandbox_bench import Inside

import gateway

ATTEMPTS = """
    import os, sys
    secret, tree = sys.argv[1:]
    for path in (secret, f"/proc/1/root{secret}", f"/proc/self/root{secret}", f"/.outside{secret}"):
        try:
            print(open(path).read())
        except OSError as error:
            print("refused")
    for path in (f"{tree}/module.py", f"{tree}/new.py", "/usr/bin/evil", "/etc/passwd", "/evil"):
        try:
            open(path, "w").close()
            print("written")
        except OSError:
            print("refused")
"""


@pytest.mark.parametrize("skip", [(), ("landlock",), ("mount_namespace",)])
async def test_sandbox_hides_a_key_file_and_leaves_the_tree_alone(
    inside: Inside, secret: Path, tree: Path, skip: tuple[str, ...]
) -> None:
    """No path leads to a key of the same user, and nothing read-only can be written.

    Mount namespace and Landlock each see to that without the other.
    """
    shown = ((tree, "/pipeline"),)
    seen = await inside(ATTEMPTS, str(secret), "/pipeline", read_only=shown, skip=skip)
    assert not any(seen.layers[layer] for layer in skip)
    assert seen.output.split() == ["refused"] * 9
    assert (tree / "module.py").read_text() == "x = 1"


async def test_sandbox_shows_only_what_was_listed(inside: Inside, tmp_path: Path) -> None:
    """The top of the tree holds system folders and what was asked for, nothing of the machine."""
    (tmp_path / "marker").write_text("")
    seen = await inside(
        """
        import os
        for line in open("/proc/mounts"):
            print(line.split()[1])
        print("home", os.path.exists("/root"), os.path.exists("/home"))
        """,
        read_only=((tmp_path, "/pipeline"),),
    )
    mounts = set(seen.output.split())
    assert {"/", "/proc", "/pipeline", "/usr", "/dev/null"} <= mounts
    assert "/sys" not in mounts
    assert not any(mount.startswith(("/.outside", "/var", "/home")) for mount in mounts)


async def test_sandbox_cannot_see_the_checkout(inside: Inside) -> None:
    """An editable install points at our own code; inside, that folder does not exist."""
    checkout = Path(gateway.__file__).parent
    seen = await inside("import os, sys; print(os.path.exists(sys.argv[1]))", str(checkout))
    assert seen.output.strip() == "False"


async def test_sandbox_writable_folder_is_ours_to_read_and_theirs_to_write(
    inside: Inside, tmp_path: Path
) -> None:
    """What the code leaves in its workspace stays; the same name elsewhere does not exist."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    seen = await inside(
        """
        import os
        os.mkdir("out")
        open("out/result", "w").write("42")
        os.rename("out/result", "out/final")
        print(os.getcwd())
        """,
        writable=((workspace, "/workspace"),),
        workdir="/workspace",
    )
    assert seen.output.strip() == "/workspace"
    assert (workspace / "out/final").read_text() == "42"


async def test_sandbox_runs_no_program_from_a_writable_folder(
    inside: Inside, tmp_path: Path
) -> None:
    """Landlock gives no right to execute what the code itself wrote."""
    seen = await inside(
        """
        import os
        with open("program", "w") as stream:
            stream.write("#!/bin/sh\\necho ran\\n")
        os.chmod("program", 0o755)
        try:
            os.execv("./program", ["./program"])
        except PermissionError:
            print("refused")
        """,
        writable=((tmp_path, "/workspace"),),
        workdir="/workspace",
    )
    assert seen.output.strip() == "refused"


async def test_sandbox_scratch_is_bounded(inside: Inside) -> None:
    """A private /tmp ends at its size, and one file at its own limit, both as plain errors."""
    seen = await inside(
        """
        import errno
        def fill(path, megabytes):
            try:
                with open(path, "wb", buffering=0) as stream:
                    for _ in range(megabytes):
                        stream.write(b"x" * (1 << 20))
            except OSError as error:
                print(errno.errorcode[error.errno])
        fill("/tmp/large", 9)
        for name in range(4):
            fill(f"/tmp/{name}", 7)
        """,
        tmp_mb=16,
    )
    assert seen.output.split() == ["EFBIG", "ENOSPC", "ENOSPC", "ENOSPC"]


async def test_sandbox_symlink_in_a_listed_folder_leads_nowhere(
    inside: Inside, secret: Path, tmp_path: Path
) -> None:
    """A link to a secret, planted in a folder that is shown, points at nothing inside."""
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "innocent").symlink_to(secret)
    seen = await inside(
        """
        try:
            print(open("/pipeline/innocent").read())
        except FileNotFoundError:
            print("nothing there")
        """,
        read_only=((shown, "/pipeline"),),
    )
    assert seen.output.strip() == "nothing there"


async def test_sandbox_environment_is_fixed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of our environment, where secrets may be, is passed on."""
    monkeypatch.setenv("SLUICE_SECRET", "do not tell")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", "/elsewhere/luigi.cfg")
    seen = await inside(
        "import os; print('\\n'.join(sorted(os.environ))); print(os.environ['LUIGI_CONFIG_PATH'])"
    )
    assert seen.output.split() == [
        "HOME",
        "LANG",
        "LUIGI_CONFIG_PATH",
        "MPLCONFIGDIR",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "TMPDIR",
        "/dev/null",
    ]


async def test_sandbox_gets_the_given_descriptors_and_no_other(
    inside: Inside, tmp_path: Path
) -> None:
    """Of all that we hold open, the code finds what was mapped, under the number it was given."""
    held = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(held, True)
    given = os.memfd_create("given")
    os.write(given, b"hello")
    os.lseek(given, 0, os.SEEK_SET)
    try:
        seen = await inside(
            """
            import os
            for number in range(1024):
                try:
                    os.fstat(number)
                    print(number)
                except OSError:
                    pass
            print(os.read(7, 10).decode())
            """,
            fds={7: given},
        )
    finally:
        os.close(held)
        os.close(given)
    assert seen.output.split() == ["0", "1", "2", "7", "hello"]
