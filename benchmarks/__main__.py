"""``python -m benchmarks [NAME ...]``: all figures, or those that are named.

``cluster-policies``, ``cluster-start``, ``cluster-run`` and ``cluster-cut`` are the parts of
``cluster``; with ``--quick`` those are short runs, to see whether they work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import append, cluster, decide, memory, resolve, run
from benchmarks.figures import Figure

MEASURES = {"resolve": resolve, "decide": decide, "run": run, "append": append, "memory": memory}
CLUSTER = {"cluster": tuple(cluster.PARTS)} | {f"cluster-{part}": (part,) for part in cluster.PARTS}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    names = [*MEASURES, *CLUSTER]
    parser.add_argument("names", nargs="*", choices=[*names, []], help="which; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="short runs of the cluster's figures")
    options = parser.parse_args()
    measures = {name: module.measure for name, module in MEASURES.items()}
    scale = cluster.QUICK if options.quick else cluster.FULL
    measures |= {name: partial(cluster.measure, scale, parts) for name, parts in CLUSTER.items()}
    console = Console(stderr=True)
    figures: list[Figure] = []
    for name in options.names or (*MEASURES, "cluster"):
        console.print(f"measuring {name} ...")
        figures += asyncio.run(measures[name]())
    out = Path("build/bench.json")
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps([figure.to_json() for figure in figures], indent=2) + "\n")
    if options.json:
        print(out.read_text())
    else:
        Console().print(_table(figures))


def _table(figures: list[Figure]) -> Table:
    table = Table(box=None)
    for column in ("figure", "value", "reference", "ratio"):
        table.add_column(column, justify="left" if column in {"figure", "reference"} else "right")
    for figure in figures:
        reference = (
            "" if figure.reference is None else f"{figure.reference:.3g} {figure.reference_name}"
        )
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}", reference, ratio)
    return table


if __name__ == "__main__":
    main()
