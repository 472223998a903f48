"""Means by hand, tables and curves."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from napari_semiseg.benchmark.curves import curves
from napari_semiseg.benchmark.record import Row
from napari_semiseg.benchmark.report import against_seconds, against_slices, means_table, report_files, summary

SVG = "{http://www.w3.org/2000/svg}"


def row(peer, dice, *, case="a", count=3, seconds=1.0, budget="120 s", where="annotated volumes", hd95=4.0):
    scores = {i: {"dice": d, "hd95_mm": hd95 if d else None, "asd_mm": 1.0 if d else None} for i, d in dice.items()}
    return Row(
        set="hearts", case=case, peer=peer, where=where, round=1, count=count, slices=[1], budget=budget, seed=0,
        seconds=seconds, scores=scores, trial={},
    )  # fmt: skip


ROWS = [
    row("auto", {1: 0.9, 2: 0.7}, seconds=100.0),
    row("auto", {1: 0.5, 2: 0.0}, case="b", seconds=120.0),
    row("walker", {1: 0.6, 2: 0.5}, seconds=2.0),
    row("walker", {}, case="c", where="other volumes"),
    row("auto", {1: 0.8, 2: 0.8}, count=5, seconds=100.0),
]


def test_means_are_first_over_classes_then_over_volumes():
    assert ROWS[0].mean() == pytest.approx(0.8)
    assert ROWS[3].mean() is None
    peers, groups = summary(ROWS)
    assert peers == ["auto", "walker"]
    assert groups["hearts", "annotated volumes", 3, "120 s"] == pytest.approx([(0.8 + 0.25) / 2, 0.55])
    assert groups["hearts", "other volumes", 3, "120 s"] == [None, None]


def test_a_class_without_a_distance_is_left_out_of_the_distances():
    assert ROWS[1].mean("hd95_mm") == 4.0
    assert row("auto", {1: 0.0}).mean("asd_mm") is None


def test_the_best_of_a_line_is_bold_and_the_least_distance_is_best():
    assert "| hearts | 3 | 120 s | 0.525 | **0.550** |" in means_table(ROWS)
    rows = [row("auto", {1: 0.9}, hd95=6.0), row("walker", {1: 0.8}, hd95=5.0)]
    assert means_table(rows, "hd95_mm").splitlines()[-1] == "| hearts | 3 | 120 s | 6.00 | **5.00** |"
    assert "| hearts, other volumes | 3 | 120 s | – | – |" in means_table(ROWS)


def test_points_of_the_curves_by_hand():
    assert against_slices(ROWS[:3] + ROWS[4:])["auto"] == [(3.0, pytest.approx(0.525)), (5.0, pytest.approx(0.8))]
    assert against_seconds(ROWS[:3])["auto"] == [(110.0, pytest.approx(0.525))]
    assert against_seconds(ROWS[:3])["walker"] == [(2.0, pytest.approx(0.55))]


def test_the_report_shows_every_curve_that_it_names():
    files = report_files(ROWS)
    pictures = [name for name in files if name.endswith(".svg")]
    assert len(pictures) == 5  # by slices: two places; by seconds: 3 and 5 slices, and 3 of the other volumes
    for name in pictures:
        assert f"]({name})" in files["report.md"]
        ElementTree.fromstring(files[name])
    assert "| hearts | 3 | 120 s | auto | 2 | 0.350 | 4.000 | 1.000 |" in files["report.md"]


def test_curves_place_points_by_their_values():
    root = ElementTree.fromstring(curves("T < 1", "x", "Dice", {"a": [(1, 0.5), (2, 1.0), (3, 0.75)], "b": [(1, 0.5)]}))
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter(f"{SVG}circle")]
    assert len(dots) == 4
    (x1, y1), (x2, y2), (x3, y3), other = dots
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y3 == pytest.approx(y3 - y2, abs=0.2)  # 0.75 lies halfway, and upwards is less
    assert other == (x1, y1)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert {"T < 1", "x", "Dice", "a", "b", "1", "2", "3"} <= set(texts)


def test_seconds_over_a_wide_range_are_drawn_logarithmically():
    root = ElementTree.fromstring(curves("", "s", "Dice", {"a": [(1, 0.5), (10, 0.6), (100, 0.7)]}))
    first, second, third = (float(dot.get("cx")) for dot in root.iter(f"{SVG}circle"))
    assert second - first == pytest.approx(third - second, abs=0.2)


def test_nothing_is_drawn_as_empty_axes():
    assert list(ElementTree.fromstring(curves("", "", "", {})).iter(f"{SVG}circle")) == []
