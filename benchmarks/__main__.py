"""``python -m benchmarks [NAME ...]``: all figures, or those of the named modules."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import append, decide, memory, resolve, run
from benchmarks.figures import Figure

MODULES = {
    module.__name__.rpartition(".")[2]: module for module in (resolve, decide, run, append, memory)
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MODULES, []], help="which; all by default")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    console = Console(stderr=True)
    figures: list[Figure] = []
    for name in options.names or MODULES:
        console.print(f"measuring {name} ...")
        figures += asyncio.run(MODULES[name].measure())
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
