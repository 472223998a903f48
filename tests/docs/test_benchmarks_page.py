"""The tables of docs/benchmarks.md are those that the benchmarks left."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_table_of_the_page_is_made_from_the_results() -> None:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    page = tables.PAGE.read_text(encoding="utf-8")
    assert page.count("<!-- end -->") == len(tables.TABLES)
    assert tables.filled(page) == page, "run: python benchmarks/tables.py"
