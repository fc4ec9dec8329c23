"""Where the bed keeps things: programs in a cache that outlives it, the rest in a state folder.

The state folder holds private keys, so it is created for its owner alone, and one that others can
enter is refused (its parent is often world-writable). A lock in it says whether a bed is up: the
kernel lets go of it when the holder dies, however it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parents[1]
ROOT = HERE.parents[1]


class BedError(Exception):
    """The bed cannot do what was asked; the message says why and what to do."""


def cache_folder() -> Path:
    """Return where built programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "sluice-cluster"


@dataclass(frozen=True)
class State:
    """The folder of one bed: keys, kubeconfig, logs, etcd's data."""

    folder: Path

    @classmethod
    def default(cls) -> State:
        """Return this user's: ``SLUICE_CLUSTER_STATE``, or a folder among temporary files."""
        chosen = os.environ.get("SLUICE_CLUSTER_STATE")
        return cls(
            Path(chosen or Path(tempfile.gettempdir()) / f"sluice-cluster-{os.getuid()}").absolute()
        )

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object per line."""
        return self.folder / "audit.log"

    @property
    def logs(self) -> Path:
        """One log file for each process of the bed."""
        return self.folder / "logs"

    @property
    def machine(self) -> Path:
        """What the real node writes, and what it believes to write elsewhere."""
        return self.folder / "machine"

    @property
    def log(self) -> Path:
        """What the bed itself says, as long as it is up or when it failed."""
        return self.folder / "bed.log"

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _ready(self) -> Path:
        return self.folder / "ready.json"

    def create(self) -> None:
        """Make the folder, for its owner alone.

        Raises BedError when others can enter it.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.folder.lstat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
            raise BedError(f"{self.folder} is not yours alone (0700); set SLUICE_CLUSTER_STATE")

    def clear(self, *, keep_logs: bool = False) -> None:
        """Remove what a bed wrote, and the folder when nothing else is in it."""
        folders = [self.folder / "etcd", self.folder / "pki", self.machine / "node"]
        for folder in folders if keep_logs else [*folders, self.machine, self.logs]:
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.kubeconfig, self.audit_log, self._ready):
            file.unlink(missing_ok=True)
        if not keep_logs:
            self.log.unlink(missing_ok=True)
            self._lock.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock, with our process id in it, as long as the block runs.

        Raises BedError when another bed holds it.
        """
        with self._lock.open("a+", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BedError(f"a bed is up already in {self.folder}") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def holder(self) -> int | None:
        """Return the process id of the bed that is up or coming up here, if there is one."""
        try:
            lock = self._lock.open(encoding="ascii")
        except FileNotFoundError:
            return None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read() or "0") or None
            return None

    def announce(self, variables: dict[str, str]) -> None:
        """Say that the bed is ready, and which environment variables its users want."""
        draft = self._ready.with_suffix(".draft")
        draft.write_text(json.dumps(variables), encoding="utf-8")
        draft.replace(self._ready)

    def variables(self) -> dict[str, str] | None:
        """Return what ``announce`` said, or None while no bed is ready here."""
        if self.holder() is None or not self._ready.exists():
            return None
        announced: dict[str, str] = json.loads(self._ready.read_text(encoding="utf-8"))
        return announced
