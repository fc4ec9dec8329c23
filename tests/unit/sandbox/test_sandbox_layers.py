"""Which layers a machine has, and what happens on one that lacks some."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from gateway.sandbox.layers import available_layers, missing
from gateway.sandbox.spec import LAYERS, REINFORCEMENTS


async def test_layers_are_found_by_building_them() -> None:
    """Each known layer is answered for, and on this machine each is there."""
    layers = await asyncio.to_thread(available_layers)
    assert set(layers) == {*LAYERS, *REINFORCEMENTS}
    assert missing(layers) == []


def test_layers_missing_are_named_outermost_first() -> None:
    """What start-up says is in a fixed order, whatever was asked for."""
    some = dict.fromkeys(LAYERS, True) | {"seccomp": False, "pid_namespace": False}
    assert missing(some) == ["pid_namespace", "seccomp"]
    assert missing(some, {"seccomp"}) == ["seccomp"]
    assert missing({}, ["rlimits"]) == ["rlimits"]


def test_layers_that_are_missing_are_reported_and_the_others_hold(secret: Path, tree: Path) -> None:
    """Without namespaces Landlock hides the key, limits hold, and nothing lives on."""
    program = Path(__file__).with_name("sandbox_poorer.py")
    run = subprocess.run(
        [sys.executable, program, secret, tree],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    status, said, layers, refused = json.loads(run.stdout)
    assert said.splitlines()[:2] == ["refused", "x = 1 True"]
    assert status == 0
    on = {name for name, there in layers.items() if there}
    assert not on & {"user_namespace", "mount_namespace", "pid_namespace", "network_namespace"}
    assert {"landlock", "seccomp", "rlimits", "no_new_privs", "no_capabilities"} <= on
    assert refused == ["sandbox_layer_missing", "pid_namespace"]
