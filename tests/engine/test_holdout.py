from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from napari_semiseg.engine.holdout import choose_held_out


def test_four_annotated_slices_are_all_learned_from():
    assert choose_held_out([1, 3, 5, 7], [1, 3, 5, 7]) == frozenset()


def test_of_five_the_middle_one_is_set_aside():
    planes = [2, 4, 9, 11, 30]
    assert choose_held_out(planes, planes) == {9}


def test_of_ten_two_are_and_the_first_stays():
    five, ten = [0, 10, 20, 30, 40], list(range(0, 100, 10))
    first = choose_held_out(five, five)
    second = choose_held_out(ten, ten, held=first)
    assert first < second
    assert len(second) == 2


def test_scribbled_slices_are_not():
    planes = [2, 4, 9, 11, 30]
    assert choose_held_out(planes, [2, 4, 11, 30]) <= {4, 11}


def test_slices_that_a_round_learned_from_are_not():
    planes = [2, 4, 9, 11, 30]
    assert choose_held_out(planes, planes, learned=[2, 4, 9, 30]) == {11}
    assert choose_held_out(planes, planes, learned=planes) == frozenset()


def test_the_annotator_decides():
    planes = [2, 4, 9, 11, 30]
    assert choose_held_out(planes, planes, held=[9], decided={9: False}) <= {4, 11}
    assert choose_held_out(planes, planes, decided={2: True}) == {2}, "even an outermost one, and then no further one"
    assert choose_held_out(planes[:3], planes[:3], decided={4: True}) == {4}, "even below five"


def test_one_that_became_the_outermost_is_learned_from_again():
    assert 9 not in choose_held_out([9, 11, 13, 15, 17], [9, 11, 13, 15, 17], held=[9])


def test_slices_that_are_set_aside_together_leave_each_class_on_two():
    planes = list(range(15))
    rare = {plane: frozenset({1}) for plane in planes}
    rare[4] = rare[7] = rare[10] = frozenset({1, 2})
    assert not choose_held_out(planes, [4, 7, 10], shows=rare) - {4, 7, 10}
    assert len(choose_held_out(planes, [4, 7, 10], shows=rare)) == 1, "the class 2 stays on two slices"
    assert choose_held_out(planes, [4, 7, 10], shows=rare, held=[7, 10]) == {7}, "and one that was set aside comes back"
    assert choose_held_out(planes, [4, 7], shows=rare, decided={10: True}) == {10}
    rare[10] = frozenset({1})
    assert choose_held_out(planes, [4, 7, 10], shows=rare) == {10}, "of a class on two slices both are learned from"


@given(st.sets(st.integers(0, 99), max_size=40), st.sets(st.integers(0, 99)), st.sets(st.integers(0, 99)))
def test_never_more_than_one_in_five_and_never_an_outermost_or_learned_one(planes, held, learned):
    chosen = choose_held_out(planes, planes, held=held, learned=learned - held)
    assert len(chosen) <= len(planes) // 5
    if planes:
        assert chosen <= planes - {min(planes), max(planes)} - (learned - held)
    assert choose_held_out(planes, planes, held=chosen, learned=learned) == chosen, "settled"
