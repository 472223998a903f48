"""Pre-training as a round of a session, and what the rounds after it begin with."""

from __future__ import annotations

import numpy as np
import pytest
from small_sessions import only, plan, truth, write_image

from napari_semiseg.engine import events
from napari_semiseg.engine.plan import Plan
from napari_semiseg.errors import InputError
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.run import predict_round, train_round


def pre(**options) -> Plan:
    settings = {"crop": 32, "longest_side": 64, "unlabelled_batch": 2, "queue": 16}
    return Plan(method="lrc", steps=1, device="cpu", precision="float32", threads=1, settings=settings, **options)


@pytest.fixture
def session(tmp_path):
    created = Session.create(tmp_path / "s.semiseg")
    created.add_volume(write_image(tmp_path / "a.nii.gz"))
    return created


def label(session):
    session.add_class("disc")
    annotation = session.annotation(only(session))
    annotation.set_plane(2, np.where(truth()[2] > 0, 1, 255).astype(np.uint8))
    annotation.set_state(2, SliceState.COMPLETE)


def started(session, plan_):
    seen = list(train_round(session, plan_))
    assert isinstance(seen[-1], events.Finished), seen[-1]
    return next(e for e in seen if isinstance(e, events.Started))


def test_an_unlabelled_session_is_pre_trained_and_a_later_round_starts_from_it(session):
    assert started(session, pre()).method == "lrc"
    assert session.latest_round() is None
    assert session.latest_prediction(only(session)) is None
    label(session)
    begun = started(session, plan(steps=1))
    assert "unet starts pre-trained from round 1" in begun.reason
    config = session.rounds()[-1].config
    assert (config["continues"], config["pretrained"]) == (None, "1")
    assert session.latest_round().number == 2


def test_labels_made_after_the_pre_training_are_no_corrections(session):
    label(session)
    started(session, pre())
    session.new_round(plan())
    assert session.rounds()[-1].config["continues"] is None


def test_the_round_after_continues_and_does_not_start_over(session):
    label(session)
    started(session, pre())
    started(session, plan(steps=1))
    begun = started(session, plan(steps=1))
    assert "pre-trained" not in begun.reason
    assert session.rounds()[-1].config["continues"] == 2


def test_another_method_falls_back_on_the_pre_training(session):
    label(session)
    started(session, pre())
    started(session, plan(steps=1))
    other = plan(steps=1).model_copy(update={"method": "bcll"})
    assert "unet starts pre-trained from round 1" in started(session, other).reason


def test_a_second_pre_training_continues_the_first(session):
    started(session, pre())
    label(session)
    started(session, plan(steps=1))
    session.new_round(pre())
    config = session.rounds()[-1].config
    assert (config["continues"], config["pretrained"]) == (1, None)


def test_fresh_starts_from_nothing(session):
    label(session)
    started(session, pre())
    assert "pre-trained" not in started(session, plan(steps=1, warm_start=False)).reason


def test_a_round_or_a_model_can_be_named(session):
    label(session)
    started(session, pre())
    started(session, plan(steps=1))
    by_number = started(session, plan(steps=1, pretrained="1"))
    assert by_number.reason.endswith("pre-trained from round 1")
    assert session.rounds()[-1].config["continues"] is None
    path = session.rounds()[0].path
    assert "from round 1" in started(session, plan(steps=1, pretrained=str(path))).reason
    elsewhere = Session.create(path.parents[2] / "other.semiseg")
    elsewhere.add_volume(path.parents[2] / "a.nii.gz")
    label(elsewhere)
    assert f"from the model {path}" in started(elsewhere, plan(steps=1, pretrained=str(path))).reason


@pytest.mark.parametrize(("name", "sentence"), [("9", "no round 9"), ("nowhere/at-all", "does not exist")])
def test_names_of_nothing_are_refused_before_a_round_is_made(session, name, sentence):
    label(session)
    with pytest.raises(InputError, match=sentence):
        session.new_round(plan(pretrained=name))
    assert session.rounds() == []


def test_a_pre_trained_round_predicts_nothing(session):
    started(session, pre())
    last = list(predict_round(session, session.rounds()[0].predicting()))[-1]
    assert isinstance(last, events.Failed)
    assert "predicts nothing" in last.error


def test_a_resumed_round_does_not_take_the_pre_trained_networks_again(session):
    from napari_semiseg.engine.control import LocalControl
    from napari_semiseg.session.run import run_round

    label(session)
    started(session, pre())
    whole = [e.losses for e in train_round(session, plan(steps=4)) if isinstance(e, events.StepDone)]
    round_ = session.new_round(plan(steps=4, pretrained="1"))
    control, seen = LocalControl(), []
    for event in run_round(session, round_, control=control):
        if isinstance(event, events.StepDone):
            seen.append(event.losses)
            if len(seen) == 2:
                control.stop()
    seen += [e.losses for e in run_round(session, round_) if isinstance(e, events.StepDone)]
    assert seen == whole
