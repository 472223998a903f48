"""Which process runs a round, and whether it still does."""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_semiseg.errors import InputError
from napari_semiseg.session.machine import boot_id, machine_id
from napari_semiseg.session.storage import read_json, write_json


@dataclass(frozen=True)
class Runner:
    """The process that runs a round.

    Attributes
    ----------
    pid : int
    started : str
        When it began, in the system's own unit: a number that was given to another process since is not mistaken for
        it. Empty where the system does not tell.
    host : str
    worker : bool
        Whether it is a training process in the background, which may be ended for certain, or somebody's script or
        command line, which may only be asked.
    machine, boot : str
        See `napari_semiseg.session.machine`; empty where the system does not tell.
    """

    pid: int
    started: str
    host: str
    worker: bool = False
    machine: str = ""
    boot: str = ""

    @classmethod
    def of(cls, pid: int | None = None, *, worker: bool = False) -> Runner:
        """Describe a process of this machine, by default this one."""
        pid = os.getpid() if pid is None else pid
        return cls(pid, _start_time(pid), platform.node(), worker, machine_id(), boot_id())

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Runner | None:
        """Return what a file says of a process; None if it makes no sense.

        Raises
        ------
        KeyError, TypeError, ValueError, OverflowError
            If it makes even less.
        """
        pid = int(record["pid"])
        if not 0 < pid < 2**31:  # 0 and negative numbers mean groups, or every process there is
            return None
        names = (str(record.get(name, "")) for name in ("machine", "boot"))
        return cls(pid, str(record["started"]), str(record["host"]), bool(record.get("worker")), *names)

    @classmethod
    def read(cls, path: Path) -> Runner | None:
        """Read what `write` wrote; None if there is nothing, or nothing that makes sense."""
        try:
            found = cls.of_record(read_json(path))
            return None if found is None or found.pid == 1 else found  # 1 starts all others and runs no round
        except (InputError, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return None

    def write(self, path: Path) -> None:
        """Store it.

        Raises
        ------
        StorageError
        """
        write_json(path, asdict(self))

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine; files of older versions tell its name only."""
        return self.host == platform.node() and self.machine in ("", machine_id())

    @property
    def is_countable(self) -> bool:
        """Whether its number means something here: this machine has not started anew since, nor is it a container."""
        return self.is_here and self.boot in ("", boot_id())

    @property
    def is_alive(self) -> bool:
        """Whether the process exists; one of another machine is believed to."""
        return not self.is_here or (self.is_countable and _exists(self.pid, self.started))

    @property
    def can_be_killed(self) -> bool:
        """Whether it is a worker of this machine, and one that can be told from others that got its number later."""
        return self.worker and self.is_countable and self.pid != os.getpid() and bool(self.started)

    def kill(self) -> None:
        """End the process at once, if that may be done and it is still the same."""
        if self.can_be_killed and self.is_alive and self.started == _start_time(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL)


def startup_log() -> Path:
    """Return the file that keeps what a worker process says before it works on a round."""
    from platformdirs import user_log_path

    return user_log_path("napari-semiseg", appauthor=False) / "worker.log"


def _status(pid: int) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` from the state on; empty where there is no such file."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return []


def _start_time(pid: int) -> str:
    fields = _status(pid)
    return fields[19] if fields else ""


def _exists(pid: int, started: str) -> bool:
    if sys.platform == "win32":
        return _exists_on_windows(pid)
    if hasattr(os, "waitid"):
        # A child of this process that nobody has waited for keeps its number although it is dead.
        with contextlib.suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    fields = _status(pid)
    return not fields or (fields[0] != "Z" and started in ("", fields[19]))


def _exists_on_windows(pid: int) -> bool:
    # os.kill(pid, 0) would end the process there.
    import ctypes

    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    handle = kernel.OpenProcess(0x1000, False, pid)
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259
