"""Planes computed off the UI thread: each once, the newest delivered, never one of another volume."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from napari_semiseg.gui.computed import PlaneComputer


class Held:
    """A lane whose work is done by hand, so that what happens meanwhile is chosen."""

    def __init__(self):
        self.queue: list[tuple[Callable, Callable, Callable]] = []
        self.errors: list[BaseException] = []

    def run(self, work, then, failed):
        self.queue.append((work, then, failed))

    def failed(self, error):
        self.errors.append(error)

    def work(self):
        """Do what is next; return what delivers it."""
        work, then, failed = self.queue.pop(0)
        try:
            result = work()
        except ValueError as error:
            return lambda error=error: failed(error)
        return lambda: then(result)


@pytest.fixture
def desk():
    lane, delivered, busy = Held(), [], []
    computer = PlaneComputer(lane, lambda plane, result: delivered.append((plane, result)), busy.append, cached=2)
    return SimpleNamespace(lane=lane, delivered=delivered, busy=busy, computer=computer)


def test_a_plane_asked_for_again_while_it_is_computed_is_computed_once(desk):
    desk.computer.want(1, "one", lambda: "a")
    arrive = desk.lane.work()
    desk.computer.want(1, "one", lambda: "a")
    arrive()
    assert not desk.lane.queue
    assert desk.delivered == [(1, "a")]
    assert desk.computer.computed == 1
    assert desk.busy[-1] is False


def test_going_away_and_back_while_it_is_computed_delivers_it(desk):
    desk.computer.want(1, "one", lambda: "a")
    arrive = desk.lane.work()
    desk.computer.want(2, "two", lambda: "b")
    desk.computer.want(1, "one", lambda: "a")
    arrive()
    assert desk.delivered == [(1, "a")]
    desk.lane.work()()
    assert desk.computer.computed == 1, "the second plane was no longer wanted when its turn came"


def test_asked_for_again_after_its_turn_had_passed(desk):
    desk.computer.want(1, "one", lambda: "a")
    desk.computer.want(2, "two", lambda: "b")
    passed_over = desk.lane.work()
    desk.computer.want(1, "one", lambda: "a")
    passed_over()
    while desk.lane.queue:
        desk.lane.work()()
    assert desk.delivered == [(1, "a")]


def test_a_plane_of_another_volume_is_never_delivered_or_kept(desk):
    desk.computer.want(1, "one", lambda: "of the first volume")
    arrive = desk.lane.work()
    desk.computer.forget()
    desk.computer.want(1, "one", lambda: "of the second volume")
    arrive()
    assert desk.delivered == []
    desk.lane.work()()
    desk.computer.want(1, "one", lambda: "of the first volume")
    assert desk.delivered == [(1, "of the second volume")] * 2


def test_nothing_is_delivered_after_dropping(desk):
    desk.computer.want(1, "one", lambda: "a")
    arrive = desk.lane.work()
    desk.computer.drop()
    arrive()
    assert desk.delivered == []
    assert desk.busy[-1] is False


def test_only_the_latest_results_are_kept(desk):
    for plane in (1, 2, 3):
        desk.computer.want(plane, plane, lambda: "a")
        desk.lane.work()()
    desk.computer.want(3, 3, lambda: "a")
    assert not desk.lane.queue
    desk.computer.want(1, 1, lambda: "a")
    assert len(desk.lane.queue) == 1


def test_a_failure_is_told_and_the_plane_can_be_asked_for_again(desk):
    def breaks():
        raise ValueError("broken")

    desk.computer.want(1, "one", breaks)
    desk.lane.work()()
    assert [str(error) for error in desk.lane.errors] == ["broken"]
    assert desk.busy[-1] is False
    desk.computer.want(1, "one", lambda: "a")
    desk.lane.work()()
    assert desk.delivered == [(1, "a")]
