from __future__ import annotations

import numpy as np

from napari_semiseg.session.merge import accepted_piece, rejected_piece

# Painted class 3, a background stroke, and nothing; predicted 1, 2 or background.
SAID = np.array([[3, 0, 255, 255, 255, 255]], np.uint8)
PREDICTED = np.array([[1, 1, 1, 2, 0, 1]], np.uint8)
PIECE = np.array([[True, True, True, True, True, False]])


def test_accepting_a_piece_leaves_what_was_painted_and_what_is_outside():
    found = accepted_piece(SAID, PREDICTED, PIECE, complete=True)
    np.testing.assert_array_equal(found, [[3, 0, 1, 2, 255, 255]])


def test_where_unpainted_says_nothing_predicted_background_becomes_a_stroke():
    found = accepted_piece(SAID, PREDICTED, PIECE, complete=False)
    np.testing.assert_array_equal(found, [[3, 0, 1, 2, 0, 255]])


def test_accepting_over_what_was_painted_when_asked():
    found = accepted_piece(SAID, PREDICTED, PIECE, complete=True, overwrite=True)
    np.testing.assert_array_equal(found, [[1, 1, 1, 2, 255, 255]])


def test_rejecting_makes_background_strokes_of_predicted_structures_only():
    np.testing.assert_array_equal(rejected_piece(SAID, PREDICTED, PIECE), [[3, 0, 0, 0, 255, 255]])
    np.testing.assert_array_equal(rejected_piece(SAID, PREDICTED, PIECE, overwrite=True), [[0, 0, 0, 0, 255, 255]])
