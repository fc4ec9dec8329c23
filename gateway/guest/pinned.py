"""Import Luigi and the pipeline so that nothing but code and given parameters decides a task.

Luigi reads ``luigi.cfg`` from the working directory and /etc, and variables that name further
files; any of them can change a parameter's default. Here they are all forgotten before the
pipeline is imported (Luigi 3.8.1, ``luigi/configuration``).
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import tree_digest
from .failure import wrap

# Luigi's warnings that write out every parameter of a task, masked ones included.
_REVEALING = ("Task .* without outputs", 'Parameter ".*" with value')


def prepare(spec: dict[str, object], tree: str, workdir: str) -> None:
    """Check the code, pin the configuration, import the pipeline, go to the working folder.

    Raises ``GuestError``: ``code_changed``, ``import_failed``, ``memory``.
    """
    tree_digest.check(tree, str(spec["code_digest"]))
    sys.path.extend(str(path) for path in spec["site_packages"])  # type: ignore[attr-defined]
    _pin_luigi()
    sys.path.insert(0, tree)
    load_module(str(spec["module"]), tree)
    os.chdir(workdir)


def load_module(name: str, tree: str) -> None:
    """Import one module of the pipeline."""
    try:
        importlib.import_module(name)
    except BaseException as error:  # a pipeline may raise anything, SystemExit included
        raise wrap("import_failed", f"importing {name}", error, tree) from error


def _pin_luigi() -> None:
    os.chdir("/")
    os.environ.pop("LUIGI_CONFIG_PARSER", None)
    with _pinned_cfg() as path:
        os.environ["LUIGI_CONFIG_PATH"] = path
        import luigi.configuration
        from luigi.configuration import LuigiConfigParser, LuigiTomlParser

    for parser in (LuigiConfigParser, LuigiTomlParser):
        parser._config_paths = []  # noqa: SLF001 - Luigi offers no other way
        parser._instance = None  # noqa: SLF001 - same
    del os.environ["LUIGI_CONFIG_PATH"]
    luigi.configuration.get_config().set("core", "autoload_range", "false")
    for text in _REVEALING:
        warnings.filterwarnings("ignore", message=text)


@contextmanager
def _pinned_cfg() -> Iterator[str]:
    """Give a path of ``pinned.cfg``; inside a zip it has none that Luigi could open."""
    beside = Path(__file__).with_name("pinned.cfg")
    if beside.is_file():
        yield str(beside)
        return
    with os.fdopen(os.memfd_create("pinned.cfg"), "wb", buffering=0) as held:
        held.write(pkgutil.get_data(__package__ or "", "pinned.cfg") or b"")
        yield f"/proc/self/fd/{held.fileno()}"
