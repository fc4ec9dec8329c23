"""``python -m tests.cluster.bed``: bring the bed up and down.

    up [--nodes N]      build what is missing, start everything, return when it takes pods
    down                end it; returns when no process of it is left
    env [--json]        what its users want in their environment; status 1 when no bed is up
    run COMMAND...      run a command with the bed up and that environment; down again afterwards
                        unless it was up before
    build [PROGRAM...]  only build (everything that `up` needs, or the programs named)

Where ``KUBECONFIG`` names another cluster, that one is used and nothing is brought up.
"""

from __future__ import annotations

# ruff: noqa: T201 - a command's output
import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from .bringing_up import prepare, serve
from .builds import PROGRAMS, program
from .lifecycle import bring_down, bring_up, find
from .places import BedError, State


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.bed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    nodes = argparse.ArgumentParser(add_help=False)
    nodes.add_argument("--nodes", type=int, default=3, help="fake nodes (3)")
    for name in ("up", "serve"):
        commands.add_parser(name, parents=[nodes])
    commands.add_parser("down")
    commands.add_parser("env").add_argument("--json", action="store_true")
    commands.add_parser("run", parents=[nodes]).add_argument("argv", nargs=argparse.REMAINDER)
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


def _run(state: State, nodes: int, argv: list[str]) -> int:
    was_up = find(state) is not None
    variables = bring_up(state, nodes)
    try:
        return subprocess.run(argv, env={**os.environ, **variables}, check=False).returncode
    finally:
        if not was_up:
            bring_down(state)


def main() -> int:
    """Do what the command line says; the exit status is 0, or 1 with a sentence."""
    arguments = _arguments()
    state = State.default()
    try:
        match arguments.command:
            case "up":
                bring_up(state, arguments.nodes)
                return _env(as_json=False)
            case "down":
                bring_down(state)
            case "env":
                return _env(as_json=arguments.json)
            case "run":
                return _run(state, arguments.nodes, arguments.argv)
            case "build":
                paths: list[Path] = [program(name) for name in arguments.programs]
                for path in paths or prepare().values():
                    print(path)
            case "serve":
                serve(state, arguments.nodes)
    except BedError as error:
        print(f"bed: {error}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
