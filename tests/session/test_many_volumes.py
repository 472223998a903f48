"""Several volumes in one session: choosing some, one that cannot be read, classes that were not looked for."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest
from small_sessions import only, plan, truth, write_image

from napari_semiseg import api
from napari_semiseg.engine import events
from napari_semiseg.engine.maps import Maps
from napari_semiseg.errors import InputError
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.export import mask_of
from napari_semiseg.session.predictions import StoringWriter
from napari_semiseg.session.run import predict_round, train_round
from napari_semiseg.session.supervisor import Supervisor


@pytest.fixture
def three(session, tmp_path) -> Session:
    """The session with two volumes more, of which the last is labelled, too."""
    for number in (2, 3):
        session.add_volume(write_image(tmp_path / f"patient{number}.nii.gz", seed=number))
    annotation = session.annotation("patient3")
    annotation.set_plane(2, np.where(truth()[2] == 0, 255, truth()[2]).astype(np.uint8))
    annotation.set_state(2, SliceState.COMPLETE)
    annotation.flush()
    return session


def kinds(run, kind):
    return [event for event in run if isinstance(event, kind)]


def test_training_on_chosen_volumes_learns_from_and_predicts_these_only(three):
    run = list(train_round(three, plan(volumes=("patient3",))))
    assert kinds(run, events.Started)[0].labelled == 1
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["patient3"]
    round_ = three.latest_round()
    assert round_.config["plan"]["volumes"] == ["patient3"]
    assert round_.prediction("heart") is None


def test_predicting_chosen_volumes(three):
    list(train_round(three, plan(volumes=("heart",))))
    run = list(predict_round(three, three.latest_round().predicting(["patient2"])))
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["patient2"]
    run = list(predict_round(three, three.latest_round().predicting()))
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["heart", "patient2", "patient3"]


def test_a_volume_that_does_not_exist_is_named(three):
    with pytest.raises(InputError, match="no volume 'patient9'; it has heart, patient2, patient3"):
        three.new_round(plan(volumes=("patient9",)))


def test_one_of_two_volumes_of_one_name_is_chosen_by_its_id(three, tmp_path):
    (tmp_path / "other").mkdir()
    record = three.add_volume(write_image(tmp_path / "other" / "heart.nii.gz", seed=9))
    assert record.id == "heart-2"
    assert three.new_round(plan(volumes=("heart",))).config["plan"]["volumes"] == ["heart"]
    three.volumes["heart"] = three.volumes["heart"].model_copy(update={"id": "first"})
    three.volumes = {record.id if i != "heart" else "first": record for i, record in three.volumes.items()}
    with pytest.raises(InputError, match="2 volumes have the name 'heart'; choose by id: first, heart-2"):
        three.new_round(plan(volumes=("heart",)))


@pytest.mark.parametrize("trouble", ["gone", "unreadable", "changed"])
def test_a_volume_that_cannot_be_read_is_named_and_the_others_go_on(three, tmp_path, trouble):
    image = tmp_path / "patient2.nii.gz"
    if trouble == "gone":
        image.unlink()
    elif trouble == "unreadable":
        image.write_bytes(image.read_bytes()[:200])
    else:
        write_image(image, seed=77)
    run = list(train_round(three, plan()))
    (failed,) = kinds(run, events.VolumeFailed)
    assert (failed.volume, failed.name) == ("patient2", "patient2")
    assert "patient2.nii.gz" in failed.error
    assert isinstance(run[-1], events.Finished)
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["heart", "patient3"]
    run = list(predict_round(Session.open(three.path), three.latest_round().predicting()))
    assert [event.volume for event in kinds(run, events.VolumeFailed)] == ["patient2"]
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["heart", "patient3"]
    assert isinstance(run[-1], events.Finished)


def test_a_damaged_annotation_leaves_its_volume_out(three):
    (three.path / "volumes" / "patient2" / "slices.json").write_text("{")
    # Beside another program nothing is mended.
    run = list(train_round(Session.open(three.path), plan(), beside=True))
    assert [event.volume for event in kinds(run, events.VolumeFailed)] == ["patient2"]
    assert isinstance(run[-1], events.Finished)
    run = list(train_round(Session.open(three.path), plan()))
    assert not kinds(run, events.VolumeFailed)
    assert any("painted slices count as scribbled" in event.text for event in kinds(run, events.Notice))
    assert isinstance(run[-1], events.Finished)


def test_a_run_fails_when_no_volume_can_be_read(three, tmp_path):
    list(train_round(three, plan()))
    for image in tmp_path.glob("*.nii.gz"):
        image.unlink()
    again = Session.open(three.path)
    for run in (list(train_round(again, plan())), list(predict_round(again, three.latest_round().predicting()))):
        assert len(kinds(run, events.VolumeFailed)) == 3
        assert isinstance(run[-1], events.Failed)
        assert "heart" in run[-1].error
        assert not run[-1].report


@pytest.mark.clock
def test_the_worker_predicts_what_was_chosen(three):
    list(train_round(three, plan()))
    supervisor = Supervisor()
    try:
        round_ = supervisor.predict(three.path, three.latest_round(), ["patient2"])
        run = list(supervisor.events(round_))
    finally:
        supervisor.kill()
    assert [event.volume for event in kinds(run, events.PredictionReady)] == ["patient2"]


def test_api_predict_writes_the_others_when_one_fails(three, tmp_path):
    list(train_round(three, plan()))
    (tmp_path / "patient2.nii.gz").unlink()
    failed = {}
    masks = api.predict(three.path, out=tmp_path / "masks", failed=lambda name, error: failed.update({name: error}))
    assert [mask.name for mask in masks] == ["heart.nii.gz", "patient3.nii.gz"]
    assert "is gone" in str(failed["patient2"])
    with pytest.raises(InputError, match="is gone"):
        api.predict(three.path, out=tmp_path / "again")
    assert len(list((tmp_path / "again").glob("*.nii.gz"))) == 2
    chosen = api.predict(three.path, out=tmp_path / "one.nii.gz", volumes=["patient3"])
    assert nib.load(chosen[0]).shape == (48, 48, 6)


# -- classes that were not looked for ----------------------------------------------------------------------------


def test_what_is_looked_for_is_remembered(session):
    other = session.add_class("aorta").id
    assert session.training_volume(only(session)).unsought == frozenset()
    session.look_for(only(session), [2])
    again = Session.open(session.path)
    assert again.volumes[only(session)].looked_for == (2,)
    volume = again.training_volume(only(session))
    assert volume.unsought == {again.class_ids.index(other)}
    assert again.training_volume(only(session), class_ids=(0, other, 7)).unsought == {1, 2}
    again.look_for(only(session), None)
    assert again.training_volume(only(session)).unsought == frozenset()


def test_a_class_that_is_added_later_was_not_looked_for(session):
    session.look_for(only(session), [2])
    added = session.add_class("aorta").id
    assert session.training_volume(only(session)).unsought == {session.class_ids.index(added)}


def test_a_class_that_is_removed_is_not_looked_for_any_more(session):
    added = session.add_class("aorta").id
    session.look_for(only(session), [2, added])
    session.remove_class(added)
    assert session.volumes[only(session)].looked_for == (2,)


@pytest.mark.parametrize(("ids", "said"), [([9], "there is no class 9"), ([], "no class was named")])
def test_what_cannot_be_looked_for_is_refused(session, ids, said):
    with pytest.raises(InputError, match=said):
        session.look_for(only(session), ids)
    assert session.volumes[only(session)].looked_for is None


def test_an_exported_mask_takes_classes_not_looked_for_from_the_prediction(session):
    other = session.add_class("aorta").id
    predicted = np.full((6, 48, 48), 2, np.uint8)
    predicted[:, :5] = other
    round_ = session.new_round(plan())
    writer = StoringWriter(round_.prediction_path(only(session)), predicted.shape, (0, 2, other), False)
    writer.write(0, Maps(predicted, predicted, None, np.zeros((3, 6, 48, 48), np.uint8)))
    writer.close(complete=True)
    assert (mask_of(session, only(session))[1, :5] == 0).all()
    session.look_for(only(session), [2])
    mask = mask_of(session, only(session))
    assert (mask[1, :5] == other).all()
    np.testing.assert_array_equal(mask[1, 5:], truth()[1, 5:])


def test_a_new_volume_may_look_for_some_classes(tmp_path):
    session = api.new(
        tmp_path / "n.semiseg",
        [api.Source(write_image(tmp_path / "a.nii.gz"), looked_for=(2,)), write_image(tmp_path / "b.nii.gz", seed=1)],
        classes={2: "wall", 5: "cavity"},
    )
    assert [record.looked_for for record in session.volumes.values()] == [(2,), None]
    assert json.loads((session.path / "session.json").read_text())["schema_version"] == 2
    assert api.classes(session.path, volume="b", looked_for=[5])["looked_for"] == {"a": [2], "b": [5]}
    assert api.classes(session.path, volume="a")["looked_for"]["a"] is None
    with pytest.raises(InputError, match="no class 7"):
        api.new(tmp_path / "m.semiseg", [api.Source(tmp_path / "a.nii.gz", looked_for=(7,))], classes={2: "wall"})
    assert not (tmp_path / "m.semiseg").exists()


def test_what_one_thread_reads_while_another_writes_is_one_object_until_both_let_go(session):
    def elsewhere(work):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()

    again = Session.open(session.path)
    with again.visiting("heart") as lent:
        assert again.annotation("heart") is lent  # a visit that asks again keeps nothing
    assert again.annotation("heart") is not lent
    again.release("heart")

    with again.visiting("heart") as lent:
        assert elsewhere(lambda: again.annotation("heart")) is lent
    assert again.annotation("heart") is lent, "an export took the annotation from whoever paints on it"

    with again.visiting("heart") as lent:
        elsewhere(lambda: again.release("heart"))
        assert elsewhere(lambda: again.annotation("heart")) is lent, (
            "there were two, of which the last to be written wins"
        )
        elsewhere(lambda: again.release("heart"))
    assert again.annotation("heart") is not lent


def test_a_reader_sees_all_of_a_change_or_nothing(session):
    annotation, torn, ended = session.annotation("heart"), [], threading.Event()
    shape = annotation.said.shape
    painted = {plane: np.full(shape[1:], 2, np.uint8) for plane in range(shape[0])}
    empty = {plane: np.full(shape[1:], 255, np.uint8) for plane in range(shape[0])}
    states = dict.fromkeys(range(shape[0]), SliceState.SCRIBBLED)
    annotation.change(empty, states)

    def read():
        while not ended.is_set():
            found = annotation.resolved()
            torn.append(0 < np.count_nonzero(found == 2) < found.size)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        annotation.change(painted, states)
        annotation.change(empty, states)
    ended.set()
    reader.join()
    assert torn
    assert not any(torn)
