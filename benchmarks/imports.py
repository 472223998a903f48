"""What importing the package and opening the manifest costs, and that neither loads torch or Qt.

python benchmarks/imports.py --out imports.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

_PROBE = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
heavy = [name for name in ("torch", "monai", "qtpy", "PyQt6", "napari", "SimpleITK") if name in sys.modules]
print(json.dumps({{"seconds": round(seconds, 3), "loaded": heavy}}))
"""

STATEMENTS = {
    "import napari_semiseg": "import napari_semiseg",
    "open the manifest": ("from npe2 import PluginManifest; PluginManifest.from_distribution('napari-semiseg').dict()"),
    "ask for a reader": ("from napari_semiseg.gui.reader import get_reader; get_reader('volume.nii.gz')"),
    "import the command line": "import napari_semiseg.cli.commands",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = []
    for title, statement in STATEMENTS.items():
        best = None
        for _ in range(3):
            done = subprocess.run(
                [sys.executable, "-c", _PROBE.format(statement=statement)], capture_output=True, text=True, check=True
            )
            result = json.loads(done.stdout)
            best = result if best is None or result["seconds"] < best["seconds"] else best
        rows.append({"what": title, **best})
        print(json.dumps(rows[-1]))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
