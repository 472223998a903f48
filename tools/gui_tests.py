"""Run the tests that open windows, one process per file.

The software renderer of a virtual display now and then crashes inside glDrawArrays while napari draws (a segmentation
fault of the whole process, not a failing test; napari's issues 7351 and 8471 tell of the same without this plugin). A
file whose process was ended by a signal is run again, at most twice; a failing test is never repeated. The last line
sums the files up as pytest would.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ATTEMPTS = 3
NO_TESTS = 5  # pytest's exit code for a file without tests of this kind


def run(file: Path, options: list[str], report: Path) -> int:
    """Run one file, leave its JUnit report, and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", str(file), f"--junitxml={report}", *options]
    for attempt in range(1, ATTEMPTS + 1):
        code = subprocess.run(command, check=False).returncode
        if code >= 0:
            return code
        print(f"{file}: ended by signal {-code}, attempt {attempt} of {ATTEMPTS}", flush=True)
    return 1


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
    folder = Path(__file__).resolve().parents[1] / "tests" / "gui"
    began = time.monotonic()
    outcomes: Counter[str] = Counter()
    codes = []
    with tempfile.TemporaryDirectory() as reports:
        for file in sorted(f for f in folder.glob("test_*.py") if "mark.gui" in f.read_text()):
            report = Path(reports) / f"{file.stem}.xml"
            codes.append(run(file, ["-m", "gui", *sys.argv[1:]], report))
            outcomes += count(report)
    summary = ", ".join(
        f"{outcomes[kind]} {kind}" for kind in ("failed", "passed", "skipped", "error") if outcomes[kind]
    )
    print(f"{summary or 'no tests ran'} in {time.monotonic() - began:.2f}s")
    return 0 if all(code in (0, NO_TESTS) for code in codes) else 1


if __name__ == "__main__":
    sys.exit(main())
