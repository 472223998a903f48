"""Held-out slices in the session folder, and what rounds tell: one trained session is shared by the tests."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from small_sessions import only, plan, truth, write_image

from napari_semiseg import api
from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl
from napari_semiseg.engine.model import Model
from napari_semiseg.errors import InputError
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.export import export_model
from napari_semiseg.session.holding import hold_out, judged, learned, settle
from napari_semiseg.session.run import predict_round, run_round, train_round
from napari_semiseg.session.storage import read_json, write_json
from napari_semiseg.session.summaries import RoundSummary, dice_text, ends_of, measures, round_changes, suggestions


def annotated(folder, planes) -> Session:
    """A session with complete planes of one structure, 2."""
    folder.mkdir(exist_ok=True)
    session = Session.create(folder / "s.semiseg", classes={2: "cavity"})
    record = session.add_volume(write_image(folder / "heart.nii.gz", planes=8))
    paint(session, planes)
    assert record.geometry.shape[0] == 8
    return session


def paint(session, planes):
    annotation = session.annotation(only(session))
    for plane in planes:
        annotation.set_plane(plane, np.where(truth(8)[plane] == 0, 255, 2).astype(np.uint8))
        annotation.set_state(plane, SliceState.COMPLETE)
    annotation.flush()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two rounds: five annotated slices with one held out, then a sixth and a different temperature."""
    session = annotated(tmp_path_factory.mktemp("trained"), [0, 2, 3, 5, 7])
    list(train_round(session, plan(steps=12)))
    paint(session, [4])
    list(train_round(session, plan(steps=12)))
    session.close()
    return session.path


@pytest.fixture
def session(trained, tmp_path):
    shutil.copytree(trained.parent, tmp_path / "copy")
    return Session.open(tmp_path / "copy" / trained.name)


def test_from_five_slices_on_one_is_held_out_and_stays_so(tmp_path):
    session = annotated(tmp_path, [0, 2, 4, 7])
    volume = only(session)
    assert settle(session) == {volume: []}
    paint(session, [5])
    assert settle(session) == {volume: [4]}
    again = Session.open(session.path).annotation(volume)
    assert again.held_out == {4}
    assert again.decided == {}
    hold_out(session, volume, 4, False)
    (chosen,) = settle(session)[volume]
    assert chosen in (2, 5)
    again = Session.open(session.path).annotation(volume)
    assert again.decided == {4: False}
    assert again.held_out == {chosen}


def test_a_structure_that_few_slices_show_is_not_held_out(tmp_path):
    session = annotated(tmp_path, [0, 2, 4, 5, 7])
    annotation = session.annotation(only(session))
    rare = annotation.said[4].copy()
    rare[:3, :3] = 9
    annotation.set_plane(4, rare)
    assert settle(session)[only(session)] in ([2], [5])


def test_a_structure_on_three_of_ten_slices_loses_one_at_most(tmp_path):
    session = Session.create(tmp_path / "s.semiseg", classes={2: "cavity"})
    session.add_volume(write_image(tmp_path / "heart.nii.gz", planes=10))
    annotation = session.annotation(only(session))
    for plane in range(10):
        said = np.where(truth(10)[plane] == 0, 255, 2).astype(np.uint8)
        said[:3, :3] = 9 if plane in (3, 5, 6) else 255
        annotation.set_plane(plane, said)
        annotation.set_state(plane, SliceState.COMPLETE if plane in (3, 5, 6) else SliceState.SCRIBBLED)
    assert len(settle(session)[only(session)]) == 1


def test_only_complete_slices_can_be_held_out(session):
    with pytest.raises(InputError, match="only complete slices"):
        hold_out(session, only(session), 1)
    with pytest.raises(InputError, match="slices 0 to 7"):
        hold_out(session, only(session), 8)


def test_a_round_is_judged_by_its_held_out_slice(session):
    first, second = session.rounds()
    assert first.config["held_out"] == {only(session): [3]}
    metrics = first.metrics()
    assert metrics["held_out"]["slices"] == [[only(session), 3]]
    predicted, said = first.prediction(only(session)).labels[3], truth(8)[3]
    dice = 2 * np.sum((predicted == 2) & (said == 2)) / (np.sum(predicted == 2) + np.sum(said == 2))
    assert metrics["held_out"]["dice"] == pytest.approx(dice, abs=0.02)
    assert 0 <= metrics["calibration"]["ece_after"] <= 1
    assert Model.load(first.path).temperature == metrics["calibration"]["temperature"]
    assert second.config["held_out"] == {only(session): [3]}, "the same slice stays out of a round that goes on"


def test_slices_that_were_learned_from_do_not_count(session):
    volume = only(session)
    hold_out(session, volume, 3, False)
    hold_out(session, volume, 5, True)  # both rounds learned from it
    found = list(train_round(session, plan(steps=1)))
    assert session.rounds()[-1].config["held_out"] == {volume: [5]}
    assert not any(isinstance(event, events.Judged) for event in found)
    assert any(isinstance(event, events.Notice) and "slice 5 was learned from" in event.text for event in found)
    afresh = list(train_round(session, plan(steps=1, warm_start=False)))
    assert any(isinstance(event, events.Judged) for event in afresh)


def test_what_was_painted_while_the_worker_started_counts_as_learned_from(session):
    pressed = session.new_round(plan(steps=1))
    paint(session, [6])
    list(run_round(session, pressed))
    assert set(pressed.digests[only(session)]) == {"0", "2", "3", "4", "5", "6", "7"}
    assert learned(pressed, only(session)) == {0, 2, 4, 5, 6, 7}
    hold_out(session, only(session), 3, False)
    hold_out(session, only(session), 6, True)
    assert not any(isinstance(event, events.Judged) for event in train_round(session, plan(steps=1)))


def test_a_round_answers_for_the_volumes_it_was_trained_on(session, tmp_path):
    other = session.add_volume(write_image(tmp_path / "other.nii.gz", seed=1, planes=8)).id
    annotation = session.annotation(other)
    for plane in (0, 2, 3, 5, 7):
        annotation.set_plane(plane, truth(8)[plane])
        annotation.set_state(plane, SliceState.COMPLETE)
    round_ = session.new_round(plan(steps=1, volumes=[only(session)]))
    assert set(round_.digests) == set(round_.config["held_out"]) == {only(session)}
    list(run_round(session, round_))
    assert set(round_.digests) == {only(session)}
    assert api.rounds(session)[-1].slices == 6
    assert learned(round_, other) == set()
    config = read_json(round_.path / "config.json")
    write_json(round_.path / "config.json", {**config, "digests": {**config["digests"], other: {"2": "00"}}})
    assert learned(round_, other) == set(), "nor does one of an older version, which listed all"


def test_networks_given_by_path_make_their_round_an_ancestor(session, tmp_path):
    hold_out(session, only(session), 3, False)
    hold_out(session, only(session), 5, True)
    first, second = session.rounds()
    export_model(session, tmp_path / "exported.safetensors", second)
    for place in (first.path, first.path / "model.safetensors", tmp_path / "exported.safetensors"):
        round_ = session.new_round(plan(steps=1, pretrained=str(place)))
        assert judged(session.rounds(), round_) == {only(session): []}, place


@pytest.mark.parametrize("damage", ["model", "model.json", "config", "folder"])
def test_an_ancestor_that_is_damaged_still_counts(session, damage):
    hold_out(session, only(session), 3, False)
    hold_out(session, only(session), 4, True)  # only the second round learned from it
    round_ = session.new_round(plan(steps=1))
    ancestor = session.rounds()[1]
    match damage:
        case "model":
            (ancestor.path / "model.safetensors").unlink()
        case "model.json":
            (ancestor.path / "model.json").write_text("{")
        case "config":
            (ancestor.path / "config.json").write_text("{")
        case "folder":
            shutil.rmtree(ancestor.path)
    assert judged(session.rounds(), round_) == {only(session): []}


def test_a_final_training_learns_from_all_slices(session):
    found = list(train_round(session, plan(steps=1, hold_out=False)))
    started = next(event for event in found if isinstance(event, events.Started))
    assert started.labelled == 6
    assert not any(isinstance(event, events.Judged) for event in found)
    assert "held_out" not in session.rounds()[-1].metrics()
    assert session.annotation(only(session)).held_out == {3}, "it stays marked for the next round"


def test_a_stopped_round_is_judged_when_it_predicts(session):
    last = session.rounds()[-1]
    write_json(last.path / "metrics.json", {"reason": "stopped"})
    found = list(predict_round(session, last.predicting()))
    assert any(isinstance(event, events.Judged) for event in found)
    assert last.metrics()["reason"] == "stopped"
    assert Model.load(last.path).temperature == last.metrics()["calibration"]["temperature"]


def test_a_stopped_round_has_no_dice_of_weights_it_left_behind(session):
    round_ = session.new_round(plan(steps=40))
    control = LocalControl()
    seen = []
    for event in run_round(session, round_, control=control):
        seen.append(event)
        if isinstance(event, events.StepDone) and event.step == 2:
            round_.control.predict()
        if isinstance(event, events.StepDone) and any(isinstance(e, events.Judged) for e in seen):
            control.stop()
    assert seen[-1].reason == "stopped"
    assert "held_out" not in round_.metrics()
    assert Model.load(round_.path).temperature == 1.0
    list(predict_round(session, round_.predicting()))
    assert round_.metrics()["held_out"]
    resumed = run_round(session, round_)
    next(event for event in resumed if isinstance(event, events.StepDone))
    resumed.close()
    assert not round_.metrics().get("held_out"), "whatever ends a round that goes on"


def test_summaries_of_rounds(session):
    one, two = api.rounds(session)
    assert (one.number, one.method, one.slices, one.status) == (1, "supervised", 5, "finished")
    assert two.slices == 6
    assert one.minutes > 0
    assert dice_text(one.held_out) == f"{one.held_out['dice']:.2f}"
    assert one.point().slices == 5
    assert "(" in dice_text({"dice": 0.5, "low": 0.4, "high": 0.6})
    assert RoundSummary.of(session.rounds()[0]) == one


def test_restoring_a_round(session):
    volume = only(session)
    first, second = session.rounds()
    assert session.latest_round() == second
    with pytest.raises(InputError, match="no round 7"):
        session.restore_round(7)
    session.restore_round(1)
    again = Session.open(session.path)
    assert again.latest_round() == first
    np.testing.assert_array_equal(again.latest_prediction(volume).labels[:], first.prediction(volume).labels[:])
    assert [entry.number for entry in again.rounds()] == [1, 2], "their order stays"
    third = again.new_round(plan(steps=1))
    assert third.config["continues"] == 1
    shutil.copy(second.path / "model.json", third.path)
    shutil.copy(second.path / "model.safetensors", third.path)
    assert again.latest_round() == third, "what comes after it counts"


def test_a_damaged_note_of_a_restored_round_is_passed_over(session):
    session.restore_round(1)
    (session.path / "rounds" / "restored.json").write_text("{")
    assert session.latest_round().number == 2


def test_comparing_rounds(session):
    volume = only(session)
    first, second = (entry.prediction(volume).labels[:] for entry in session.rounds())
    (change,) = round_changes(session, volume, 1, 2)
    voxel = 5 * 0.7 * 0.7 / 1000
    assert change.before_ml == pytest.approx(np.sum(first == 2) * voxel, rel=1e-4)
    assert change.gained_ml == pytest.approx(np.sum((second == 2) & (first != 2)) * voxel, rel=1e-4)
    assert api.compare(session, 1, 2) == [change]
    with pytest.raises(InputError, match="no round 9"):
        api.compare(session, 1, 9)
    shutil.rmtree(session.rounds()[0].path / "predictions")
    with pytest.raises(InputError, match="has no prediction"):
        api.compare(session, 1, 2)


def test_measures_are_those_of_the_export(session):
    volume = only(session)
    (found,) = measures(session, volume, "annotation")
    assert found.voxels == sum(np.sum(truth(8)[plane] == 2) for plane in (0, 2, 3, 4, 5, 7))
    assert found.slices == 6
    assert api.measure(session, source="annotation") == [(volume, found)]
    with pytest.raises(InputError, match="source"):
        api.measure(session, source="x")


def test_suggestions_name_the_patient_direction(session):
    volume = only(session)
    ranked, equidistant = suggestions(session, volume, count=2)
    assert {s.plane for s in ranked + equidistant} <= {1, 6}
    assert ends_of(session.volumes[volume].geometry) == ("inferior", "superior")
    assert session.latest_prediction(volume).measured is not None
    both = api.suggest(session, count=2, order="equidistant")
    assert all(s.order == "equidistant" for _, s in both)


def test_equidistant_slices_are_offered_before_any_training(tmp_path):
    session = annotated(tmp_path, [0, 7])
    ((volume, suggestion),) = api.suggest(session, count=1, order="equidistant")
    assert (volume, suggestion.plane) == (only(session), 3)
    with pytest.raises(InputError, match="train it first"):
        api.suggest(session)
    with pytest.raises(InputError, match="order"):
        api.suggest(session, order="x")


def test_the_list_of_held_out_slices_in_files_of_older_versions_is_empty(session):
    place = session.path / "volumes" / only(session) / "slices.json"
    record = read_json(place)
    for entry in record["slices"].values():
        entry.pop("held_out", None)
        entry.pop("decided", None)
    write_json(place, record)
    assert Session.open(session.path).annotation(only(session)).held_out == set()
    config = read_json(session.rounds()[0].path / "config.json")
    del config["held_out"]
    write_json(session.rounds()[0].path / "config.json", config)
    assert session.training_volume(only(session), round_=session.rounds()[0]).held_out == {}


def test_the_api_shows_and_changes_held_out_slices(session):
    volume = only(session)
    assert api.hold_out(session) == {volume: [3]}
    assert api.hold_out(session, slices=[2], learn_from=[3]) == {volume: [2]}
    with pytest.raises(InputError, match="no volume 'x'"):
        api.hold_out(session, "x", slices=[2])
