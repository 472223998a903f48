from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_semiseg.losses.schedules import cosine_rate, ema_decay, poly_rate, ramp_up


@pytest.mark.parametrize(("progress", "value"), [(0, 0.0067379), (0.5, 0.286505), (1, 1), (1.5, 1)])
def test_ramp_up(progress, value):
    assert ramp_up(progress) == pytest.approx(value, abs=1e-6)


def test_rates_fall_from_one_to_zero():
    assert poly_rate(0) == cosine_rate(0) == 1
    assert poly_rate(1) == 0
    assert cosine_rate(1) == pytest.approx(0, abs=1e-12)
    assert poly_rate(0.5) == pytest.approx(0.5**0.9)
    assert cosine_rate(0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(("step", "value"), [(0, 0), (1, 0.5), (9, 0.9), (99, 0.99), (5000, 0.99)])
def test_ema_decay(step, value):
    assert ema_decay(step) == pytest.approx(value)


@given(a=st.floats(0, 1), b=st.floats(0, 1))
def test_monotone(a, b):
    a, b = sorted((a, b))
    assert ramp_up(a) <= ramp_up(b)
    assert poly_rate(a) >= poly_rate(b)
    assert cosine_rate(a) >= cosine_rate(b)
