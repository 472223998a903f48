"""Which computer this is, and since when it runs: two may have one name, such as "ubuntu" or "localhost"."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def machine_id() -> str:
    """Return what the system calls this computer, the same after every start; empty where it does not tell."""
    if sys.platform == "win32":
        return _registry_id()
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/ioreg", "-rd1", "-c", "IOPlatformExpertDevice"]
            said = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout
            found = re.search(r'"IOPlatformUUID" = "([^"]+)"', said)
            return found[1] if found else ""
    return _text("/etc/machine-id") or _text("/var/lib/dbus/machine-id")


@cache
def boot_id() -> str:
    """Return what only processes share that count each other: since the same start, in the same container.

    Empty where the system does not tell.
    """
    boot = _text("/proc/sys/kernel/random/boot_id")
    if not boot:
        return ""
    with contextlib.suppress(OSError):
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    return boot


def _text(path: str) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return Path(path).read_text(encoding="ascii").strip()
    return ""


def _registry_id() -> str:
    import winreg  # type: ignore[import-not-found,unused-ignore]

    with contextlib.suppress(OSError):
        place = r"SOFTWARE\Microsoft\Cryptography"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place) as key:  # type: ignore[attr-defined,unused-ignore]
            return str(winreg.QueryValueEx(key, "MachineGuid")[0])  # type: ignore[attr-defined,unused-ignore]
    return ""
