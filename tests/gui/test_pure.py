"""What the panel says, resolved from plain facts."""

from __future__ import annotations

import numpy as np
import pytest

from napari_semiseg.engine import events as ev
from napari_semiseg.errors import InputError
from napari_semiseg.gui import outlook
from napari_semiseg.gui.letters import edge_letters
from napari_semiseg.gui.outlook import Facts
from napari_semiseg.gui.problems import explain
from napari_semiseg.gui.review import accepted
from napari_semiseg.gui.slices import annotated, next_state, state_after_edit, summary
from napari_semiseg.gui.survey import next_of, steps_to
from napari_semiseg.gui.training import Phase, guarded
from napari_semiseg.gui.writer import as_mask
from napari_semiseg.session import SliceState

EMPTY, PAINTED = np.zeros((3, 3), np.uint8), np.eye(3, dtype=np.uint8)


def facts(**changes) -> Facts:
    return Facts(
        **{"volumes": 1, "annotated": 2, "chosen": 1, "phase": Phase.IDLE, "predicted": False, "rounds": 0, **changes}
    )


def test_every_disabled_button_says_why():
    assert outlook.why_not_train(facts()) is None
    assert "Open a volume" in outlook.why_not_train(facts(volumes=0))
    assert "at least one slice" in outlook.why_not_train(facts(annotated=0))
    assert outlook.why_not_train(facts(annotated=0), needs_labels=False) is None
    assert "under way" in outlook.why_not_train(facts(phase=Phase.PAUSED))
    assert outlook.why_not_stop(facts()) == "No training is under way."
    assert outlook.why_not_stop(facts(phase=Phase.TRAINING)) is None
    assert outlook.why_not_pause(facts(phase=Phase.TRAINING)) is None
    assert outlook.why_not_pause(facts(phase=Phase.PREDICTING))
    assert outlook.why_not_accept(facts())
    assert outlook.why_not_accept(facts(predicted=True)) is None
    assert outlook.start_title(facts()) == "Train"
    assert outlook.start_title(facts(rounds=1)) == "Retrain"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65, "1:05"), (59.2, "1:00"), (7210, "2:00:10")])
def test_clock(seconds, text):
    assert outlook.clock(seconds) == text


def test_painting_makes_a_slice_what_the_mode_says_and_undoing_takes_it_back():
    after = state_after_edit(SliceState.UNLABELLED, PAINTED, SliceState.SCRIBBLED, automatic=False)
    assert after is SliceState.SCRIBBLED
    after = state_after_edit(SliceState.UNLABELLED, PAINTED, SliceState.COMPLETE, automatic=False)
    assert after is SliceState.COMPLETE
    assert state_after_edit(after, EMPTY, SliceState.COMPLETE, automatic=True) is SliceState.UNLABELLED
    # An empty slice that the user called complete stays so: it shows nothing but background.
    assert state_after_edit(SliceState.COMPLETE, EMPTY, SliceState.COMPLETE, automatic=False) is SliceState.COMPLETE
    assert state_after_edit(SliceState.REVIEWED, PAINTED, SliceState.SCRIBBLED, automatic=False) is SliceState.REVIEWED


def test_the_key_steps_through_all_states():
    state, seen = SliceState.UNLABELLED, []
    for _ in range(4):
        state = next_state(state)
        seen.append(state)
    assert set(seen) == set(SliceState) - {SliceState.PROPOSED}
    assert state is SliceState.UNLABELLED


def test_summary_counts():
    states = [SliceState.COMPLETE, SliceState.UNLABELLED, SliceState.SCRIBBLED]
    assert annotated(states) == [0, 2]
    assert summary(states) == "2 of 3 slices annotated (1 by scribbles)"
    assert summary([*states, SliceState.PROPOSED]) == "2 of 4 slices annotated (1 by scribbles), 1 proposed"


def test_a_proposal_counts_once_it_is_painted_on_or_confirmed():
    proposed = SliceState.PROPOSED
    assert annotated([proposed]) == []
    assert next_state(proposed) is SliceState.COMPLETE
    assert state_after_edit(proposed, PAINTED, SliceState.SCRIBBLED, automatic=False) is SliceState.SCRIBBLED
    assert state_after_edit(proposed, EMPTY, SliceState.COMPLETE, automatic=False) is SliceState.UNLABELLED


def test_accepting_never_replaces_paint_unless_asked():
    painted = np.array([[0, 255, 2]], np.uint8)
    predicted = np.array([[1, 1, 1]], np.uint8)
    np.testing.assert_array_equal(accepted(painted, predicted, overwrite=False), [[1, 255, 2]])
    np.testing.assert_array_equal(accepted(painted, predicted, overwrite=True), [[1, 1, 1]])
    nothing = np.zeros_like(predicted)
    np.testing.assert_array_equal(accepted(painted, nothing, overwrite=False), painted)


def test_letters_follow_the_shown_axes_and_the_camera():
    letters = (("I", "S"), ("A", "P"), ("R", "L"))
    assert edge_letters(letters, (1, 2)) == {"top": "A", "bottom": "P", "left": "R", "right": "L"}
    assert edge_letters(letters, (0, 2)) == {"top": "I", "bottom": "S", "left": "R", "right": "L"}
    assert edge_letters(letters, (0, 2), ("up", "left")) == {"top": "S", "bottom": "I", "left": "L", "right": "R"}


def test_a_runtime_error_in_the_event_stream_becomes_a_failed_event(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_semiseg.gui.problems.user_log_path", lambda *_, **__: tmp_path)

    def broken():
        yield ev.Notice(text="hello")
        raise RuntimeError("CUDA out of memory")

    seen = list(guarded(broken()))
    assert [type(event) for event in seen] == [ev.Notice, ev.Failed]
    assert "Traceback" not in seen[1].error
    assert "CUDA out of memory" in next(tmp_path.iterdir()).read_text()


def test_a_stream_that_just_ends_becomes_a_failed_event():
    assert [type(event) for event in guarded([ev.Notice(text="a")])] == [ev.Notice, ev.Failed]
    finished = ev.Finished(reason="budget", steps=1, seconds=1.0)
    assert list(guarded([finished])) == [finished]


def test_errors_become_one_sentence(tmp_path):
    assert explain(InputError("heart.nii is empty; choose another file.")) == "heart.nii is empty; choose another file."
    assert explain(PermissionError(13, "Permission denied", "/x/y")) == "Permission denied (/x/y)."
    text = explain(KeyError("surprise"), reports=tmp_path)
    assert "\n" not in text
    assert str(tmp_path) in text


def test_masks_for_the_writer():
    layer = np.array([[[0, 255], [3, 1]]], np.uint8)
    np.testing.assert_array_equal(as_mask(layer, painted=True), [[[0, 0], [3, 1]]])
    with pytest.raises(InputError, match="label 255"):
        as_mask(layer, painted=False)
    with pytest.raises(InputError, match="label -1"):
        as_mask(np.array([[[-1]]]), painted=False)
    with pytest.raises(InputError, match="4 dimensions"):
        as_mask(np.zeros((1, 1, 1, 1), int), painted=False)
    assert as_mask(np.ones((2, 2), np.int64), painted=False).shape == (1, 2, 2)


def test_the_legend_of_the_entropy_says_what_a_value_means():
    told = {"ece_before": 0.04, "ece_after": 0.012, "entropy": 0.3, "wrong": 0.083}
    assert outlook.entropy_legend("0 sure", {}, False) == "0 sure"
    assert "Uncalibrated" in outlook.entropy_legend("0 sure", {}, True)
    assert "at 0.3, about 1 pixel in 12 is wrong (calibration error 0.040 → 0.012)" in outlook.entropy_legend(
        "0 sure", told, True
    )
    assert "hardly" in outlook.entropy_legend("0 sure", {**told, "wrong": 0.0}, True)
    assert "pixel" not in outlook.entropy_legend("0 sure", {**told, "wrong": None}, True)


def test_steps_go_to_the_next_slice_and_round_at_the_ends():
    assert next_of([2, 5, 9], 5, 1) == 9
    assert next_of([2, 5, 9], 9, 1) == 2
    assert next_of([2, 5, 9], 2, -1) == 9
    assert next_of([], 2, 1) is None
    states = [SliceState.UNLABELLED, SliceState.REVIEWED, SliceState.COMPLETE]
    assert steps_to("annotated", states, []) == [1, 2]
    assert steps_to("unreviewed", states, []) == [0, 2]
    assert steps_to("suggested", states, [7, 3]) == [3, 7]


def test_a_layer_from_elsewhere_whose_session_is_gone_is_a_volume_like_any_other(tmp_path):
    from napari.layers import Image

    from napari_semiseg.gui.intake import entry_of
    from napari_semiseg.gui.metadata import KEY

    mark = {"kind": "image", "session": str(tmp_path / "gone.semiseg")}  # what annotating it had left
    entry = entry_of(Image(np.zeros((4, 5, 6), np.int16), name="foreign", scale=(3, 1, 2), metadata={KEY: mark}))
    assert entry.name == "foreign"
    assert entry.geometry.shape == (4, 5, 6)
    assert entry.geometry.spacing == (3, 1, 2)


def test_the_activity_dock_tells_how_far_a_run_is_and_how_long_it_goes_on():
    from psygnal import Signal

    from napari_semiseg.gui.activity import ActivityBar

    class Run:
        changed, progressed = Signal(), Signal()
        phase, progress, remaining = Phase.STARTING, 0.0, None

    run = Run()
    activity = ActivityBar(run)
    run.changed.emit()
    bar = activity.bar
    assert "starting" in bar.desc
    run.phase, run.progress, run.remaining = Phase.TRAINING, 0.25, 90.0
    run.changed.emit()
    assert "25%, 1:30 left" in bar.desc
    assert bar.n == bar.total // 4
    run.phase = Phase.IDLE
    run.progressed.emit()
    assert activity.bar is None, "the bar of a run that is over stays in the dock"
