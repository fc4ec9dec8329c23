"""``python -m tests.cluster.bed``: bring the bed up and down.

    up [--nodes N]      build what is missing, start everything, return when it takes pods
    down                end it; returns when no process of it is left
    env [--json]        what its users want in their environment; status 1 when no bed is up
    run [--nodes N] [--kubelet] COMMAND...
                        run a command with the bed up and that environment; down again afterwards
                        unless it was up before. With --kubelet there is a real node too, and both
                        bed and command run in namespaces of their own (root only): try `bash`
    build [PROGRAM...]  only build (everything that `up` needs, or the programs named)

Where ``KUBECONFIG`` names another cluster, that one is used and nothing is brought up.
"""

from __future__ import annotations

# ruff: noqa: T201 - a command's output
import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from .bringing_up import Size, prepare, serve
from .builds import PROGRAMS, program
from .lifecycle import COMMAND, bring_down, bring_up, find
from .places import BedError, State
from .private import run_apart, settle


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.bed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    nodes = argparse.ArgumentParser(add_help=False)
    nodes.add_argument("--nodes", type=int, default=3, help="fake nodes (3)")
    node = argparse.ArgumentParser(add_help=False, parents=[nodes])
    node.add_argument("--kubelet", action="store_true", help="and a real one")
    commands.add_parser("up", parents=[nodes]).set_defaults(kubelet=False)
    commands.add_parser("serve", parents=[node])
    for name in ("run", "inside"):
        commands.add_parser(name, parents=[node]).add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("down")
    commands.add_parser("env").add_argument("--json", action="store_true")
    commands.add_parser("build").add_argument("programs", nargs="*", choices=[*PROGRAMS, []])
    return parser.parse_args()


def _env(*, as_json: bool) -> int:
    if (variables := find(State.default())) is None:
        print("no bed is up: python -m tests.cluster.bed up", file=sys.stderr)
        return 1
    if as_json:
        print(json.dumps(variables, indent=2))
    else:
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
    return 0


def _run(state: State, size: Size, argv: list[str]) -> int:
    was_up = find(state) is not None
    variables = bring_up(state, size)
    try:
        return subprocess.run(argv, env={**os.environ, **variables}, check=False).returncode
    finally:
        if not was_up:
            bring_down(state)


def _run_apart(size: Size, argv: list[str]) -> int:
    """Run again, inside; a bed that is up out here is another one."""
    prepare(size)
    os.environ.pop("KUBECONFIG", None)
    apart = State(State.default().folder.with_name(f"sluice-cluster-apart-{os.getpid()}"))
    os.environ["SLUICE_CLUSTER_STATE"] = str(apart.folder)
    try:
        return run_apart([*COMMAND, "inside", f"--nodes={size.nodes}", "--kubelet", "--", *argv])
    finally:
        apart.clear()


def _run_as_asked(command: str, size: Size, argv: list[str]) -> int:
    argv = argv[1:] if argv[:1] == ["--"] else argv
    if not argv:
        raise BedError("run what? Give a command, `bash` for one")
    state = State.default()
    if command == "inside":
        state.create()
        settle(state)
    elif size.kubelet:
        return _run_apart(size, argv)
    return _run(state, size, argv)


def _do(arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            bring_up(State.default(), Size(arguments.nodes))
            return _env(as_json=False)
        case "serve":
            serve(State.default(), Size(arguments.nodes, arguments.kubelet))
        case "run" | "inside" as command:
            size = Size(arguments.nodes, arguments.kubelet)
            return _run_as_asked(command, size, arguments.argv)
        case "down":
            bring_down(State.default())
        case "env":
            return _env(as_json=arguments.json)
        case "build":
            paths: list[Path] = [program(name) for name in arguments.programs]
            for path in paths or prepare(Size()).values():
                print(path)
    return 0


def main() -> int:
    """Do what the command line says; the exit status is 0, or 1 with a sentence."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and clean up
    try:
        return _do(_arguments())
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1


sys.exit(main())
