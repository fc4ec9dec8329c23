"""Start the guest: ``python3 -I -S -B /guest/__main__.py resolve|serve TREE WORKDIR``.

Or, as a zip and without arguments, as a pod's process: ``python3 -I -B /sluice/guest.pyz``.

The folder may stand anywhere and under any name: it is loaded as the package ``sluice_guest``
without touching ``sys.path``, on which the pipeline's modules come first. In the zip it has that
name, and Python has put the zip on ``sys.path``, from which it is taken off again.
"""

import importlib.util
import sys
from pathlib import Path

CHANNEL_FD = 3
SPEC_FD = 4


def _load() -> None:
    folder = Path(__file__).parent
    if folder.is_file():
        import sluice_guest  # type: ignore[import-not-found]  # noqa: F401 - for its later imports

        sys.path[:] = [path for path in sys.path if path != str(folder)]
        return
    folder = folder.resolve()
    spec = importlib.util.spec_from_file_location(
        "sluice_guest", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        sys.exit("the guest's own files are missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules["sluice_guest"] = module
    spec.loader.exec_module(module)


def main() -> None:
    """Read the spec and do what ``MODE`` says; without one, be a pod's process."""
    _load()
    if not sys.argv[1:]:
        from sluice_guest.pod import main as pod  # type: ignore[import-not-found]

        pod()
    import json

    mode, tree, workdir = sys.argv[1:]
    with open(SPEC_FD, encoding="utf-8") as stream:
        spec = json.load(stream)
    if mode == "resolve":
        from sluice_guest.resolve import resolve  # type: ignore[import-not-found]

        resolve(spec, tree, workdir, CHANNEL_FD)
    elif mode == "serve":
        from sluice_guest.serve import serve  # type: ignore[import-not-found]

        serve(spec, tree, workdir, CHANNEL_FD)
    else:
        sys.exit(f"no mode {mode!r}")


if __name__ == "__main__":
    main()
