"""Peers on tiny phantoms, rounds, what is judged, and going on with what is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_cases import rings

from napari_semiseg.benchmark import trial
from napari_semiseg.benchmark.design import Design
from napari_semiseg.benchmark.folder import measure
from napari_semiseg.benchmark.peers import PEERS, Outcome, Task, certain, peer_of
from napari_semiseg.benchmark.record import read_rows
from napari_semiseg.errors import InputError

SMALL = {"device": "cpu", "threads": 1, "settings": {"crop": 64, "longest_side": 64}}
OUTLINES = ("walker", "distance", "morphology")


def rows_of(cases, *, fails=False, **design):
    rows = list(trial.run({"discs": cases}, Design(**{**SMALL, **design})))
    assert all(row.failed == fails for row in rows)
    return rows


@pytest.mark.parametrize("peer", [*OUTLINES, "forest"])
def test_classical_peers_segment_the_slices_between(peer):
    if peer == "forest":
        pytest.importorskip("sklearn", reason="scikit-learn is an extra")
    (row,) = rows_of([rings()], peers=(peer,), slices=(3,))
    assert (row.slices, row.where, row.count) == ([1, 4, 7], "annotated volumes", 3)
    assert set(row.scores) == {2, 5}
    assert row.mean() > 0.8
    assert 0 <= row.mean("asd_mm") <= row.mean("hd95_mm") < 12


def test_the_forest_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    (row,) = rows_of([rings()], peers=("forest",), slices=(3,), fails=True)
    assert "pip install napari-semiseg[benchmark]" in row.note
    assert row.mean() == 0.0  # who fails found nothing; leaving it out of the mean would flatter


def test_a_network_learns_the_annotated_volumes_and_segments_the_others():
    cases = [rings(name=f"rings {seed}", seed=seed) for seed in range(3)]
    design = {"peers": ("unet", "walker"), "slices": (3,), "annotated": 2, "steps": (12,), "seeds": (4,)}
    rows = rows_of(cases, **design)
    assert len(rows) == 6
    other = [row for row in rows if row.where == "other volumes"]
    assert [row.peer for row in other] == ["unet", "walker"]
    assert all(row.slices == [] and row.count == 3 for row in other)
    assert other[0].scores
    assert other[1].scores == {}  # nothing carries slices to a volume without any
    assert {row.case for row in rows} == {case.name for case in cases}
    drawn = [rows_of(cases, **{**design, "peers": ("walker",), "seeds": (seed,)}) for seed in range(5)]
    assert len({row.case for rows in drawn for row in rows if row.where == "other volumes"}) > 1


@pytest.fixture
def watched(monkeypatch):
    """A peer that predicts background and remembers what it was given."""
    seen: list[Task] = []

    def peer(task: Task) -> Outcome:
        seen.append(task)
        return Outcome({v.id: certain(np.zeros(v.labels.shape, np.uint8)) for v in task.volumes})

    monkeypatch.setitem(PEERS, "watched", peer)
    return seen


def test_rounds_correct_slices_for_all_peers_alike(watched):
    rows = rows_of([rings()], peers=("watched", "distance"), slices=(2,), rounds=3, policy="worst")
    by_peer = {peer: [row.slices for row in rows if row.peer == peer] for peer in ("watched", "distance")}
    assert by_peer["watched"] == by_peer["distance"]
    first, second, third = by_peer["watched"]
    assert first == [1, 7]
    assert set(first) < set(second) < set(third)
    assert [len(task.volumes[0].corrected) for task in watched] == [0, 1, 1]
    assert set(watched[1].volumes[0].corrected) == set(second) - set(first)
    # An empty prediction has to be painted in completely; interpolation leaves less to do.
    effort = [row.corrected_pixels for row in rows if row.peer == "watched"]
    (plane,) = set(second) - set(first)
    assert effort[0] is None
    assert effort[1] == int((rings().reference[plane] > 0).sum())
    assert next(row for row in rows if row.peer == "distance" and row.round == 2).corrected_pixels < effort[1]


def test_labels_are_indices_and_scores_have_the_ids_of_the_reference(watched):
    (row,) = rows_of([rings()], peers=("watched",), slices=(3,))
    assert set(np.unique(watched[0].volumes[0].labels)) == {0, 1, 2, 255}
    assert {class_id: score["dice"] for class_id, score in row.scores.items()} == {2: 0.0, 5: 0.0}
    assert row.mean("hd95_mm") is None  # an empty prediction has no distance


def test_the_next_round_goes_on_from_the_last_one_unless_it_begins_anew(monkeypatch):
    started = []
    unet = peer_of("unet")

    def peer(task: Task) -> Outcome:
        started.append(task.start is not None)
        return unet(task)

    monkeypatch.setitem(PEERS, "unet", peer)
    design = {"peers": ("unet",), "slices": (2,), "rounds": 2, "steps": (1,)}
    rows_of([rings()], **design)
    rows_of([rings()], **design, fresh=True)
    assert started == [False, True, False, False]


def test_slices_budgets_and_seeds_are_trials_of_their_own(watched):
    rows = rows_of([rings()], peers=("watched",), slices=(2, 3), seconds=(1, 2), seeds=(0, 1))
    assert len({(row.count, row.budget, row.seed) for row in rows}) == 8
    assert [task.budget for task in watched[:4]] == [{"minutes": s / 60} for s in (1, 2, 1, 2)]


def test_a_budget_in_steps_repeats_exactly():
    first, again = (rows_of([rings()], peers=("unet",), slices=(3,), steps=(2,), seeds=(1,)) for _ in range(2))
    assert first[0].scores == again[0].scores


def test_a_class_that_no_annotated_slice_shows_counts_as_missed():
    case = rings()
    case.reference[5, :4, :4] = 9
    rows = rows_of([case], peers=("unet", "distance"), slices=(2,), steps=(1,))
    assert [row.scores[9]["dice"] for row in rows] == [0.0, 0.0]


def test_an_interrupted_benchmark_goes_on_where_it_was(tmp_path, watched):
    design = Design(peers=("watched", "distance"), slices=(2,), rounds=2, policy="worst", **SMALL)
    run = measure({"discs": [rings()]}, design, tmp_path / "bench")
    for _ in range(3):
        next(run)
    run.close()
    assert len(read_rows(tmp_path / "bench" / "results.json")) == 3
    calls = len(watched)
    rest = list(measure({"discs": [rings()]}, design, tmp_path / "bench"))
    assert len(watched) == calls  # the first peer was done, and its slices are remembered
    assert [row.peer for row in rest] == ["distance", "distance"]
    rows = read_rows(tmp_path / "bench" / "results.json")
    assert [(row.peer, row.round) for row in rows] == [("watched", 1), ("watched", 2), ("distance", 1), ("distance", 2)]
    assert rows[1].slices == rows[3].slices
    assert list(measure({"discs": [rings()]}, design, tmp_path / "bench")) == []


def test_progress_is_told_from_0_to_1(watched):
    told = []
    design = Design(peers=("unet", "watched"), slices=(2,), steps=(2,), **SMALL)
    list(trial.run({"discs": [rings()]}, design, tell=lambda what, part: told.append((what, part))))
    parts = [part for _, part in told]
    assert parts == sorted(parts)
    assert 0 < parts[0] < parts[-1] <= 1
    assert told[0][0] == "unet, discs"


@pytest.mark.parametrize(
    ("cases", "design", "sentence"),
    [
        ([rings()], {"peers": ("nobody",)}, "peer 'nobody' is unknown; choose among auto"),
        ([rings()], {"device": "cuda:7"}, "cuda:7"),
        ([rings()], {"annotated": 1}, "1 volumes were to be annotated and discs has 1"),
        ([rings(), rings()], {}, "Two volumes of discs are called rings"),
        ([rings()], {"slices": (9,)}, "ask for fewer slices"),
        ([rings()], {"peers": ("distance",), "policy": "suggested", "rounds": 2, "annotated": None}, None),
    ],
)
def test_what_cannot_be_tried_is_said_before_anything_runs(cases, design, sentence):
    if sentence is None:
        assert len(rows_of(cases, **{"slices": (2,), **design})) == 2  # interpolation is a prediction as well
        return
    with pytest.raises(InputError, match=sentence):
        rows_of(cases, **design)


def test_a_folder_with_other_results_is_refused(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([1, 2]))
    with pytest.raises(InputError, match="holds no results of a benchmark"):
        list(measure({"discs": [rings()]}, Design(**SMALL), tmp_path))
