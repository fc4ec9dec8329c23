"""What of this machine every sandbox sees: the interpreter, its packages, the system's libraries.

Only paths that hold programs and public data. Never a home, never our state folder, never the
checkout that an editable install points to.
"""

from __future__ import annotations

import importlib.util
import site
import sys
import sysconfig
from pathlib import Path

SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/alternatives",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
)
NETWORK = ("/etc/resolv.conf", "/etc/hosts")
PYTHON = ("bin", "lib", "lib64", "share", "ssl", "pyvenv.cfg")


def host_view(*, network: bool) -> list[str]:
    """Return the paths that are seen inside, read-only, under their own names."""
    prefixes = dict.fromkeys((Path(sys.base_prefix), Path(sys.prefix)))
    wanted = [
        *(Path(path) for path in SYSTEM + (NETWORK if network else ())),
        *(prefix / name for prefix in prefixes for name in PYTHON),
        *site_packages(),
    ]
    seen: list[Path] = []
    for path in wanted:
        if path.exists() and not any(path.is_relative_to(parent) for parent in seen):
            seen.append(path)
    return [str(path) for path in seen]


def site_packages() -> list[Path]:
    """Return the folders that Luigi and what pipelines import come from, for ``sys.path``.

    The guest runs with ``-S``: a ``.pth`` file could name a folder that must not exist inside.
    """
    paths = sysconfig.get_paths()
    folders = [Path(paths["purelib"]), Path(paths["platlib"]), *map(Path, site.getsitepackages())]
    luigi = importlib.util.find_spec("luigi")
    if luigi and luigi.origin:
        folders.append(Path(luigi.origin).parent.parent)
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
