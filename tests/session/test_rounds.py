"""Rounds in real worker processes."""

from __future__ import annotations

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
from small_sessions import only, plan, until, write_image

from napari_semiseg import io
from napari_semiseg.engine import events
from napari_semiseg.engine.control import LocalControl, Wish
from napari_semiseg.engine.maps import Maps
from napari_semiseg.engine.model import Model
from napari_semiseg.errors import InputError, StorageError
from napari_semiseg.session import Round, Session, SliceState
from napari_semiseg.session.control_file import ControlFile
from napari_semiseg.session.export import accept_prediction, export_masks, export_model, mask_of
from napari_semiseg.session.predictions import StoringWriter
from napari_semiseg.session.run import run_round, train_round
from napari_semiseg.session.supervisor import Supervisor


@pytest.fixture(scope="module")
def supervisor():
    supervisor = Supervisor()
    supervisor.start()
    yield supervisor
    supervisor.kill()


def test_a_round_in_this_process(session):
    run = list(train_round(session, plan()))
    assert isinstance(run[-1], events.Finished)
    round_ = session.latest_round()
    assert round_.status == "finished"
    assert round_.events() == run
    prediction = round_.prediction(only(session))
    assert prediction.labels.shape == (6, 48, 48)
    assert set(np.unique(prediction.labels[:])) <= {0, 2}
    assert prediction.class_ids == (0, 2)
    total = prediction.probabilities[:].astype(int).sum(axis=0)
    assert np.abs(total - 255).max() <= 1
    assert round_.metrics()["steps"] == 4


@pytest.mark.clock
def test_a_round_in_the_worker(session, supervisor):
    round_ = supervisor.train(session.path, plan())
    seen = list(supervisor.events(round_))
    assert isinstance(seen[0], events.Started)
    assert isinstance(seen[-1], events.Finished)
    assert round_.status == "finished"
    assert not round_.control.path.exists()


@pytest.mark.clock
def test_the_shown_plane_is_previewed_while_training(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=2000))
    until(round_, events.StepDone)
    round_.control.show(only(session), 3)
    event = until(round_, events.PreviewReady)
    assert (event.volume, event.plane) == (only(session), 3)
    preview = round_.preview(only(session), 3)
    assert preview["labels"].shape == (48, 48)
    assert preview["probabilities"].shape == (2, 48, 48)
    supervisor.stop(round_)


@pytest.mark.clock
@pytest.mark.parametrize("name", ["fba_net", pytest.param("dual_stream", marks=pytest.mark.slow)])
def test_a_method_of_volumes_previews_and_stops_in_the_worker(session, supervisor, name):
    settings = {"depth": 8, "width": 2}
    round_ = supervisor.train(session.path, plan(steps=100_000, method=name, settings=settings))
    until(round_, events.StepDone)
    round_.control.show(only(session), 3)
    until(round_, events.PreviewReady)
    preview = round_.preview(only(session), 3)
    assert preview["labels"].shape == (48, 48)
    assert preview["probabilities"].shape == (2, 48, 48)
    began = time.monotonic()
    supervisor.stop(round_)
    assert time.monotonic() - began < 1.0
    assert round_.status == "stopped"
    assert isinstance(list(supervisor.events(supervisor.predict(session.path, round_)))[-1], events.Finished)
    prediction = round_.prediction(only(session))
    assert prediction.labels.shape == (6, 48, 48)
    assert prediction.disagreement is not None


@pytest.mark.clock
def test_pause_and_resume(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=2000))
    until(round_, events.StepDone)
    round_.control.pause()
    until(round_, events.Paused)
    count = len(round_.events())
    time.sleep(0.5)
    assert len(round_.events()) == count
    round_.control.resume()
    until(round_, events.Resumed)
    supervisor.stop(round_)


@pytest.mark.clock
def test_stop_is_quick_and_keeps_the_model(session, supervisor):
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    began = time.monotonic()
    supervisor.stop(round_)
    assert time.monotonic() - began < 1.0
    assert round_.status == "stopped"
    assert round_.has_model
    run = supervisor.predict(session.path, round_)
    assert isinstance(list(supervisor.events(run))[-1], events.Finished)
    assert round_.prediction(only(session)) is not None
    assert round_.status == "stopped"


@pytest.mark.clock
def test_a_killed_worker_costs_a_round_and_nothing_else(session):
    supervisor = Supervisor()
    supervisor.start()
    round_ = supervisor.train(session.path, plan(steps=100_000))
    until(round_, events.StepDone)
    os.kill(supervisor.pid, signal.SIGKILL)
    last = list(supervisor.events(round_))[-1]
    assert isinstance(last, events.Failed)
    assert "ended unexpectedly" in last.error
    assert round_.status == "failed"
    again = supervisor.train(session.path, plan())
    assert isinstance(list(supervisor.events(again))[-1], events.Finished)
    supervisor.kill()


@pytest.mark.clock
def test_a_run_outlives_its_viewer(session):
    supervisor = Supervisor()
    supervisor.start()
    round_ = supervisor.train(session.path, plan(steps=40))
    pid = supervisor.pid
    until(round_, events.StepDone)
    supervisor.close()
    watched_again = Round(round_.path)
    assert isinstance(list(watched_again.tail())[-1], events.Finished)
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}") or os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the worker is still there")


@pytest.mark.clock
def test_errors_of_the_input_end_the_round_with_a_sentence(session, supervisor):
    session.add_class("never painted")
    round_ = supervisor.train(session.path, plan())
    last = list(supervisor.events(round_))[-1]
    assert isinstance(last, events.Failed)
    assert "'never painted'" in last.error
    assert not last.report


def test_scribbles_without_background_strokes_get_a_warning(session):
    annotation = session.annotation(only(session))
    annotation.set_state(4, SliceState.SCRIBBLED)
    notices = [e for e in train_round(session, plan(steps=1)) if isinstance(e, events.Notice) and e.level == "warning"]
    assert any("no background strokes" in notice.text for notice in notices)
    annotation.said[4, :3] = 0
    annotation.mark_dirty(4)
    run = list(train_round(session, plan(steps=1)))
    assert not any("background strokes" in e.text for e in run if isinstance(e, events.Notice))


def test_a_session_without_any_label_is_refused_in_a_sentence(session):
    for plane in (1, 4):
        session.annotation(only(session)).set_state(plane, SliceState.UNLABELLED)
    last = list(train_round(session, plan(steps=1)))[-1]
    assert isinstance(last, events.Failed)
    assert "label one slice" in last.error
    assert not last.report


def test_internal_errors_leave_a_report(session, monkeypatch):
    from napari_semiseg.engine import train

    def broken(*args, **kwargs):
        raise RuntimeError("CUDA error: device-side assert")
        yield

    monkeypatch.setattr(train, "train", broken)
    last = list(train_round(session, plan()))[-1]
    assert isinstance(last, events.Failed)
    with open(last.report, encoding="utf-8") as file:
        assert "device-side assert" in file.read()


def test_an_abandoned_run_is_recorded_as_such(session):
    run = train_round(session, plan(steps=1000))
    for event in run:
        if isinstance(event, events.StepDone):
            break
    run.close()
    assert session.rounds()[-1].status == "failed"


def test_corrected_planes_are_those_that_changed_since(session):
    list(train_round(session, plan(steps=1)))
    annotation = session.annotation(only(session))
    annotation.set_plane(4, np.full((48, 48), 2, np.uint8))
    volumes, _ = session.training_volumes(since=session.latest_round())
    assert volumes[0].corrected == frozenset({4})
    run = list(train_round(session, plan(steps=1)))
    assert session.rounds()[-1].config["continues"] == 1
    assert isinstance(run[-1], events.Finished)


def test_a_round_whose_model_an_earlier_version_made_otherwise_is_not_continued(session):
    list(train_round(session, plan(steps=1)))
    file = session.rounds()[-1].path / "model.json"
    description = json.loads(file.read_text())
    description["settings"]["guidance"] = True
    file.write_text(json.dumps(description))
    run = list(train_round(session, plan(steps=1)))
    told = [event.text for event in run if isinstance(event, events.Notice)]
    assert any(text.startswith("This round starts afresh: ") and "saw a random walk" in text for text in told)
    assert isinstance(run[-1], events.Finished)


def test_an_interrupted_round_goes_on_exactly(session):
    whole = [e.losses for e in train_round(session, plan(steps=6, warm_start=False)) if isinstance(e, events.StepDone)]
    round_ = session.new_round(plan(steps=6, warm_start=False))
    from napari_semiseg.session import run as running

    seen = []

    class StopAfterThree:
        def wish(self):
            from napari_semiseg.engine.control import Wish

            return Wish(stop=len(seen) >= 3)

    for event in running.run_round(session, round_, control=StopAfterThree()):
        if isinstance(event, events.StepDone):
            seen.append(event.losses)
    rest = [e.losses for e in running.run_round(session, round_) if isinstance(e, events.StepDone)]
    assert seen + rest == whole


def interrupted(session):
    """A round that ended after its first step."""
    round_, control = session.new_round(plan(steps=3)), LocalControl()
    for event in run_round(session, round_, control=control):
        if isinstance(event, events.StepDone):
            control.stop()
    return round_


def test_a_round_that_goes_on_keeps_its_classes(session):
    round_ = interrupted(session)
    assert session.add_class("vessel").id == 1  # before the class 2 in the order of ids
    session.annotation(only(session)).said[1, :4, :4] = 1
    session.annotation(only(session)).flush()
    told = list(run_round(session, round_))
    assert told[-1].reason == "budget"
    assert any(isinstance(event, events.Notice) and "'vessel'" in event.text for event in told)
    assert round_.prediction(only(session)).class_ids == Model.load(round_.path).class_ids == (0, 2)
    assert set(np.unique(round_.prediction(only(session)).labels[:])) <= {0, 2}


def test_a_round_does_not_go_on_when_a_class_of_it_was_removed(session):
    round_ = interrupted(session)
    before = (round_.path / "model.safetensors").read_bytes()
    session.add_class("vessel")
    session.remove_class(2, erase=True)
    told = list(run_round(session, round_))
    assert isinstance(told[-1], events.Failed)
    assert "'cavity', which was removed since; train a new round" in told[-1].error
    assert (round_.path / "model.safetensors").read_bytes() == before


def test_a_watcher_survives_half_a_line(session):
    round_ = session.new_round(plan())
    round_.claim()
    lines = [events.Notice(text="one").to_json(), events.Notice(text="two").to_json()]
    found = []
    watcher = threading.Thread(target=lambda: found.extend(round_.tail()))
    watcher.start()
    with (round_.path / "events.jsonl").open("a") as file:
        for text in (lines[0] + "\n" + lines[1][:10], lines[1][10:] + "\n", "{broken\n"):
            file.write(text)
            file.flush()
            time.sleep(0.12)
        file.write(events.Finished(reason="budget", steps=1, seconds=1.0).to_json() + "\n")
    watcher.join(timeout=5)
    assert [type(e).__name__ for e in found] == ["Notice", "Notice", "Finished"]


def test_half_a_line_of_a_killed_run_does_not_swallow_the_next_event(session):
    round_ = session.new_round(plan())
    round_.append(events.Notice(text="one"))
    with (round_.path / "events.jsonl").open("a") as file:
        file.write('{"event": "Notice", "te')
    round_.append(events.Failed(error="gone"))
    assert [type(e).__name__ for e in round_.events()] == ["Notice", "Failed"]
    assert round_.status == "failed"


def test_a_run_that_cannot_write_ends_and_its_watchers_learn_of_it(session, monkeypatch):
    """The disk is full: not even the last event can be written, yet nobody waits for ever."""
    original = Round.append

    def append(self, event):
        if isinstance(event, events.StepDone | events.Failed):
            raise StorageError("The disk is full.")
        original(self, event)

    monkeypatch.setattr(Round, "append", append)
    last = list(train_round(session, plan()))[-1]
    assert isinstance(last, events.Failed)
    assert last.error == "The disk is full."
    assert not session.rounds()[0].is_alive()
    watched = list(session.rounds()[0].tail())
    assert isinstance(watched[-1], events.Failed)


def test_what_is_wished_is_seen_at_once_and_stays_together(tmp_path):
    asking, running = ControlFile(tmp_path / "control.json"), ControlFile(tmp_path / "control.json")
    assert running.wish() == Wish()
    asking.show("heart", 3)
    asking.pause()
    asking.predict()
    assert running.wish() == Wish(pause=True, show=("heart", 3), predict=1)
    asking.predict()
    asking.resume()
    asking.stop()
    assert running.wish() == Wish(stop=True, show=("heart", 3), predict=2)
    for damage in ("", "{", "[]", '{"stop": true}', '{"stop": 1, "pause": 0, "show": [1], "predict": 0}'):
        (tmp_path / "control.json").write_text(damage)
        assert running.wish() == Wish(stop=True, show=("heart", 3), predict=2)


def test_a_damaged_preview_is_none(session):
    round_ = session.new_round(plan())
    (round_.path / "preview").mkdir()
    for content in (b"", b"PK\x03\x04 not a zip", b"\x80\x04N."):
        (round_.path / "preview" / "heart-1.npz").write_bytes(content)
        assert round_.preview("heart", 1) is None


def test_a_number_that_another_process_got_meanwhile_is_not_the_run(session):
    round_ = session.new_round(plan())
    round_.claim()
    assert round_.is_alive()
    record = json.loads((round_.path / "process.json").read_text())
    (round_.path / "process.json").write_text(json.dumps({**record, "started": "1"}))
    assert not round_.is_alive()
    (round_.path / "process.json").write_text(json.dumps({**record, "host": "elsewhere"}))
    assert round_.is_alive()
    (round_.path / "process.json").write_text("[]")
    assert not round_.is_alive()


def test_the_writer_of_a_prediction_replaces_it_whole(session):
    round_ = session.new_round(plan())
    place = round_.prediction_path("heart")
    maps = Maps(*(np.full((6, 4, 5), v, np.uint8) for v in (2, 9)), None, np.full((2, 6, 4, 5), 7, np.uint8))
    for label in (2, 3):
        StoringWriter(place, (6, 4, 5), (0, 2, 3), False)  # of a run that was killed
        writer = StoringWriter(place, (6, 4, 5), (0, 2), False)
        for first in (0, 3):
            part = slice(first, first + 3)
            writer.write(
                first,
                Maps(maps.labels[part] * 0 + label, maps.entropy[part], None, maps.probabilities[:, part]),
            )
        writer.close(complete=True)
        stored = round_.prediction("heart")
        assert (stored.labels[:] == label).all()
        assert (stored.entropy[:] == 9).all()
        assert stored.disagreement is None
        assert (stored.probabilities[:, 2] == 7).all()
        assert [path.name for path in place.parent.iterdir()] == ["heart.zarr"]
    # A crash between the two renames.
    place.rename(place.with_name(".heart.zarr.0.old"))
    assert (round_.prediction("heart").labels[:] == 3).all()


def test_a_half_written_prediction_is_none(session):
    round_ = session.new_round(plan())
    writer = StoringWriter(round_.prediction_path("heart"), (6, 48, 48), (0, 2), False)
    assert round_.prediction("heart") is None
    writer.close(complete=False)
    assert round_.prediction("heart") is None
    assert not list(round_.prediction_path("heart").parent.iterdir())


def test_masks_are_exported_with_the_geometry_of_the_image(session, image, tmp_path):
    import nibabel as nib

    with pytest.raises(InputError, match="no prediction yet"):
        export_masks(session, tmp_path / "out")
    list(train_round(session, plan()))
    for format in ("nii.gz", "nrrd", "mha", "tif"):
        (written,) = export_masks(session, tmp_path / "out", format=format)
        assert written.name == f"heart.{format}"
        again = io.read_mask(written, session.volumes[only(session)].geometry) if format != "tif" else None
        if again is not None:
            said = session.annotation(only(session)).resolved()
            assert np.array_equal(again[[1, 4]], said[[1, 4]])
    source, mask = nib.load(image), nib.load(tmp_path / "out" / "heart.nii.gz")
    assert np.array_equal(source.affine, mask.affine)
    for key in ("sform_code", "qform_code", "pixdim", "xyzt_units"):
        assert np.array_equal(source.header[key], mask.header[key]), key
    with pytest.raises(InputError, match="choose one of"):
        export_masks(session, tmp_path, format="bmp")


def test_a_model_is_exported_and_loads(session, tmp_path):
    from napari_semiseg.engine.model import Model

    with pytest.raises(InputError, match="no trained round"):
        export_model(session, tmp_path / "m")
    list(train_round(session, plan(steps=1)))
    export_model(session, tmp_path / "heart.safetensors")
    model = Model.load(tmp_path / "heart.safetensors")
    assert model.class_names[2] == "cavity"


def test_accepting_a_slice_makes_it_complete_and_keeps_strokes(session):
    list(train_round(session, plan(steps=1)))
    annotation = session.annotation(only(session))
    strokes = np.full((48, 48), 255, np.uint8)
    strokes[:4] = 0
    annotation.set_plane(2, strokes)
    accept_prediction(session, only(session), 2)
    assert str(annotation.states[2]) == "complete"
    assert (annotation.said[2, :4] == 0).all()


def test_accepting_a_scribbled_slice_completes_it(session):
    list(train_round(session, plan(steps=1)))
    annotation = session.annotation(only(session))
    annotation.set_state(3, SliceState.SCRIBBLED)
    changed = accept_prediction(session, only(session), 3)
    predicted = session.latest_prediction(only(session)).labels[3]
    assert np.array_equal(annotation.resolved(3)[0], predicted)
    assert changed == np.count_nonzero(predicted)
    with pytest.raises(InputError, match="no slice 6"):
        accept_prediction(session, only(session), 6)


def test_a_mask_is_never_written_over_an_image(session, image):
    before = image.read_bytes()
    (written,) = export_masks(session, image.parent, source="annotation")
    assert image.read_bytes() == before
    assert written.name == "heart-mask.nii.gz"
    assert session.load_volume(only(session)).data.shape == (6, 48, 48)
    with pytest.raises(InputError, match="no volume 'liver'"):
        export_masks(session, image.parent / "out", volumes=["liver"])


def test_classes_that_were_removed_do_not_come_back_from_old_predictions(session, tmp_path):
    list(train_round(session, plan(steps=1)))
    round_ = session.latest_round()
    labels = np.full((6, 48, 48), 2, np.uint8)
    writer = StoringWriter(round_.prediction_path(only(session)), labels.shape, (0, 2), False)
    writer.write(0, Maps(labels, labels, None, np.stack([labels, labels])))
    writer.close(complete=True)
    assert (mask_of(session, only(session), "prediction") == 2).all()
    session.remove_class(2, erase=True)
    assert (mask_of(session, only(session), "prediction") == 0).all()
    assert accept_prediction(session, only(session), 3) == 0


@pytest.mark.clock
def test_several_volumes_train_together(session, tmp_path, supervisor):
    other = session.add_volume(write_image(tmp_path / "second.nii.gz", seed=3, planes=4, side=40)).id
    round_ = supervisor.train(session.path, plan())
    ready = [e.volume for e in supervisor.events(round_) if isinstance(e, events.PredictionReady)]
    assert set(ready) == {only(session), other}
    assert Session.open(session.path).latest_round().prediction(other).labels.shape == (4, 40, 40)


def test_the_record_of_a_round_is_plain_json(session):
    list(train_round(session, plan(steps=1)))
    round_ = session.latest_round()
    for file in ("config.json", "metrics.json", "model.json", "state.json"):
        json.loads((round_.path / file).read_text())
