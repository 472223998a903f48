"""Run the tests that open windows, one process per file, two files at a time where the display is a virtual one.

Every process on a virtual display has a display to itself, and tests that watch the clock run afterwards, one file at a
time. On a screen, where windows take the keys from each other, files run one at a time as well.

The software renderer of a virtual display now and then crashes inside glDrawArrays while napari draws (a segmentation
fault of the whole process, not a failing test; napari's issues 7351 and 8471 tell of the same without this plugin). A
file whose process was ended by a signal is run again, at most twice; a failing test is never repeated. The last line
sums the files up as pytest would.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from xml.etree import ElementTree

ATTEMPTS = 3
# Two files at a time keep to a core each, the renderer's threads included.
ONE_CORE = {"OMP_NUM_THREADS": "1", "LP_NUM_THREADS": "1"}
NO_TESTS = 5  # pytest's exit code for a file without tests of this kind
ROOT = Path(__file__).resolve().parents[1]
DISPLAY = [str(ROOT / "tools" / "with-display")]


def run(file: Path, options: list[str], report: Path, environment: dict[str, str]) -> int:
    """Run one file, leave its JUnit report, print what pytest said, and return its exit code."""
    command = [*DISPLAY, sys.executable, "-m", "pytest", "-q", str(file), f"--junitxml={report}", *options]
    for attempt in range(1, ATTEMPTS + 1):
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        if done.returncode != NO_TESTS:
            print(f"{file.relative_to(ROOT)}\n{done.stdout}", end="", flush=True)
        ended_by = signal_of(done.returncode)
        if not ended_by:
            return done.returncode
        print(f"{file}: ended by signal {ended_by}, attempt {attempt} of {ATTEMPTS}", flush=True)
    return 1


def signal_of(code: int) -> int:
    """Return the signal that ended a process, which a shell between tells as 128 more; 0 if there was none."""
    return -code if code < 0 else code - 128 if code > 128 else 0


def count(report: Path) -> Counter[str]:
    """Count the outcomes in a JUnit report; a missing one counts as an error."""
    if not report.exists():
        return Counter(error=1)
    suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    tests, failed, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    return Counter(failed=failed, passed=tests - failed - errors - skipped, skipped=skipped, error=errors)


def main() -> int:
    """Run all files, with further options of pytest from the command line."""
    began = time.monotonic()
    subprocess.run([*DISPLAY, "true"], check=True)  # installs it where it is missing
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    virtual = not screen or bool(os.environ.get("SEMISEG_VIRTUAL_DISPLAY"))
    texts = {file: file.read_text() for file in (ROOT / "tests" / "gui").glob("test_*.py")}
    # The longest first, so that both lanes end at about the same time.
    windows = sorted((file for file in texts if "mark.gui" in texts[file]), key=lambda file: -len(texts[file]))
    clocks = [file for file in windows if "mark.clock" in texts[file]]
    outcomes: Counter[str] = Counter()
    codes: list[int] = []
    with tempfile.TemporaryDirectory() as reports:
        for files, kind, lanes in ((windows, "gui and not clock", 2 if virtual else 1), (clocks, "gui and clock", 1)):
            places = [Path(reports) / f"{file.stem} {kind}.xml" for file in files]
            options = ["-m", kind, *sys.argv[1:]]
            environment = {**os.environ, **(ONE_CORE if lanes > 1 else {})}
            with ThreadPoolExecutor(lanes) as pool:
                codes += pool.map(run, files, repeat(options), places, repeat(environment))
            for place in places:
                outcomes += count(place)
    summary = ", ".join(
        f"{outcomes[kind]} {kind}" for kind in ("failed", "passed", "skipped", "error") if outcomes[kind]
    )
    print(f"{summary or 'no tests ran'} in {time.monotonic() - began:.2f}s")
    return 0 if all(code in (0, NO_TESTS) for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main())
