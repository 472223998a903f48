"""Run the tests that open windows, one process per file.

The software renderer of a virtual display now and then crashes inside glDrawArrays while napari draws (a segmentation
fault of the whole process, not a failing test). A file whose process was ended by a signal is run again, at most twice;
a failing test is never repeated.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ATTEMPTS = 3
NO_TESTS = 5  # pytest's exit code for a file without tests of this kind


def run(file: Path, options: list[str]) -> int:
    """Run one file and return pytest's exit code."""
    for attempt in range(1, ATTEMPTS + 1):
        code = subprocess.run([sys.executable, "-m", "pytest", "-q", str(file), *options], check=False).returncode
        if code >= 0:
            return code
        print(f"{file}: ended by signal {-code}, attempt {attempt} of {ATTEMPTS}", flush=True)
    return 1


def main() -> int:
    """Run all files, or those named on the command line."""
    folder = Path(__file__).resolve().parents[1] / "tests" / "gui"
    codes = [run(file, ["-m", "gui", *sys.argv[1:]]) for file in sorted(folder.glob("test_*.py"))]
    return 0 if all(code in (0, NO_TESTS) for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main())
