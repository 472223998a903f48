"""Who may change a session: one program at a time holds its lock file and lets it be seen that it still does.

The file is created exclusively, which network drives honour, where advisory locks (``flock``) often are not seen by
other machines. Its modification time is the heartbeat. A lock is stale when its process is gone (on this machine: no
such number, or it belongs to a process that began later) or, on another machine, when its heart has not beaten for a
while, measured by the clock of the drive.

The file goes when it is let go of; who held it last is noted beside it and stays. So a program that was away (its
computer slept, the drive was unplugged) and finds no lock knows whether somebody held it meanwhile: what it has in
memory is then older than what is on disk.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session.processes import Runner
from napari_semiseg.session.storage import storing, write_bytes

NAME = "lock.json"
LAST = f"{NAME}.last"
_BEAT = 10.0  # s between heartbeats
_STALE = 60.0  # s without a heartbeat after which a lock of another machine is stale
_TAKING = 10.0  # s that removing a stale lock may take


@dataclass(frozen=True)
class Holder:
    """The program that holds a lock.

    Attributes
    ----------
    process : Runner
    user : str
    since : float
        Seconds since 1970.
    token : str
        Unlike that of any other lock.
    """

    process: Runner
    user: str
    since: float
    token: str

    @classmethod
    def this(cls) -> Holder:
        """Describe this program."""
        try:
            user = getpass.getuser()
        except (OSError, KeyError, ImportError):  # a number without a name, as in some containers
            user = "somebody"
        return cls(Runner.of(), user, time.time(), uuid.uuid4().hex)

    @classmethod
    def read(cls, path: Path) -> Holder | None:
        """Read a lock file; None if there is none, or nothing that makes sense (one that is just being written)."""
        try:
            content = json.loads(path.read_bytes())
            process = Runner.of_record({**content, "host": _plain(content["host"])})
            if process is None:
                return None
            return cls(process, _plain(content["user"]), float(content["since"]), str(content["token"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def to_json(self) -> bytes:
        """Return the content of a lock file."""
        process = asdict(self.process)
        return json.dumps({**process, "user": self.user, "since": self.since, "token": self.token}).encode()

    def __str__(self) -> str:
        place = "this computer" if self.process.is_here else self.process.host
        try:
            since = datetime.fromtimestamp(self.since)
        except (ValueError, OSError, OverflowError):
            return f"{self.user} on {place}"
        today = since.date() == datetime.now().date()
        return f"{self.user} on {place} since {since:%H:%M}" if today else f"{self.user} on {place} since {since:%d %B}"


class HeldError(InputError):
    """Somebody else has the session open.

    Attributes
    ----------
    holder : Holder or None
        None where the lock file does not tell.
    """

    def __init__(self, folder: Path, holder: Holder | None):
        who = "another program" if holder is None else str(holder)
        super().__init__(f"{folder} is open elsewhere: {who}. It can be changed here when it is closed there.")
        self.holder = holder


def holder_of(folder: Path) -> Holder | None:
    """Return who holds a session now; None if nobody does, or a lock that is stale."""
    lock = folder / NAME
    holder = Holder.read(lock)
    return None if holder is None or _is_stale(lock, holder) else holder


class SessionLock:
    """The right to change a session, held until `release` or the end of this process.

    Parameters
    ----------
    folder : Path
    lost : callable, optional
        Called once, maybe in a thread of its own, when somebody else took the lock: this machine slept, or the drive
        was away.

    Attributes
    ----------
    taken_by : Holder or None
        Who took it over.

    Raises
    ------
    HeldError
        If somebody else holds it.
    StorageError
        If the folder cannot be written.
    """

    def __init__(self, folder: Path, lost: Callable[[], object] = lambda: None):
        self.folder = folder
        self.holder = Holder.this()
        self._lost = lost
        self._ended = threading.Event()
        self._looking = threading.Lock()
        self.taken_by: Holder | None = None
        if not self._create():
            self._replace_stale()
        try:
            write_bytes(folder / LAST, self.holder.to_json(), durable=False)
        except StorageError:
            self.release()
            raise
        self._heart = threading.Thread(target=self._beat, name="semiseg-lock", daemon=True)
        self._heart.start()

    @property
    def is_mine(self) -> bool:
        """Whether the lock file is still this one's."""
        found = Holder.read(self.folder / NAME)
        return found is not None and found.token == self.holder.token

    def check(self) -> Holder | None:
        """Look who took the lock over, if anybody did, and tell it once; None where that cannot be seen at present.

        Whoever is about to write asks before, since up to a heartbeat passes until it is noticed otherwise.
        """
        with self._looking:
            if self.taken_by is not None or self._ended.is_set():
                return self.taken_by
            found = (Holder.read(self.folder / name) for name in (NAME, LAST))
            others = [holder for holder in found if holder is not None and holder.token != self.holder.token]
            if not others:
                return None
            self.taken_by = others[0]
        self.release()  # it may have been claimed anew just before the other one was seen
        self._lost()
        return self.taken_by

    @property
    def why_lost(self) -> str:
        """What to tell when somebody took the lock over."""
        return (
            f"{self.folder} was taken over by {self.taken_by} while this program was away, so it may have changed. "
            "What you painted since is kept in memory: press “Save as…” to keep it elsewhere."
        )

    def release(self) -> None:
        """Let others change the session."""
        self._ended.set()
        if self.is_mine:
            with contextlib.suppress(OSError):
                (self.folder / NAME).unlink()

    def _create(self) -> bool:
        """Create the lock file, unless there is one."""
        lock = self.folder / NAME
        with storing(lock):
            try:
                handle = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
            try:
                os.write(handle, self.holder.to_json())
            except OSError:
                lock.unlink(missing_ok=True)
                raise
            finally:
                os.close(handle)
        return True

    def _replace_stale(self) -> None:
        """Put this lock in the place of a stale one; only one program at a time may try."""
        lock, taking = self.folder / NAME, self.folder / f"{NAME}.taking"
        if not _is_stale(lock, Holder.read(lock)):
            raise HeldError(self.folder, Holder.read(lock))
        with storing(taking):
            if taking.exists() and _age(taking) > _TAKING:
                taking.unlink(missing_ok=True)  # whoever tried was killed
            try:
                os.close(os.open(taking, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                raise HeldError(self.folder, None) from None
            try:
                # Somebody else may have done it since.
                if _is_stale(lock, Holder.read(lock)):
                    lock.unlink(missing_ok=True)
                if not self._create():
                    raise HeldError(self.folder, Holder.read(lock))
            finally:
                taking.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._ended.wait(_BEAT):
            if self.check() is not None:
                return
            lock = self.folder / NAME
            if lock.exists():
                with contextlib.suppress(OSError):
                    os.utime(lock)
            else:
                # The drive is away, or somebody tidied up; when the folder is there, it is claimed anew.
                with contextlib.suppress(StorageError):
                    self._create()


def _plain(text: object) -> str:
    """Return a name from a file as it may be shown: short, printable, no markup."""
    return "".join(c for c in str(text)[:64] if c.isprintable() and c not in "<>&") or "somebody"


def _is_stale(lock: Path, holder: Holder | None) -> bool:
    if holder is not None and holder.process.is_countable:
        return not holder.process.is_alive
    return _age(lock) > _STALE


def _age(path: Path) -> float:
    """Return the seconds since a file was touched, by the clock of its drive; 0 where that cannot be told."""
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()
