"""How far probabilities can be trusted: temperature scaling and the expected calibration error.

Guo et al., ICML 2017, doi:10.48550/arXiv.1706.04599, equation 9 and equations 2 to 3. What is scaled here are averages
of several networks' (and of the walk's) probabilities, for which there are no common logits; their logarithms take the
place of logits: p_T ∝ p^(1/T).
"""

from __future__ import annotations

import math

import numpy as np

LOWEST, HIGHEST = 0.2, 10.0
"""Bounds of the temperature; below 1 the model was too unsure, above 1 too sure."""
LEAST_VOXELS = 100
"""Fewer voxels tell nothing."""
_TINY = 1e-7


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities at another temperature.

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
        Rows that sum to 1.
    temperature : float
        1 leaves them, larger ones bring them nearer to each other.

    Returns
    -------
    ndarray of float64, shape (N, C)
    """
    logs = np.log(np.maximum(np.asarray(probabilities, np.float64), _TINY)) / temperature
    logs -= logs.max(axis=1, keepdims=True)
    powers = np.exp(logs)
    return powers / powers.sum(axis=1, keepdims=True)


def negative_log_likelihood(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return −mean(ln p of the true class).

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
    truth : ndarray of int, shape (N,)
        Class indices.
    """
    right = np.take_along_axis(np.asarray(probabilities, np.float64), truth.astype(np.int64)[:, None], axis=1)
    return float(-np.log(np.maximum(right, _TINY)).mean())


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Return the temperature at which the true classes are most likely.

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
        At temperature 1.
    truth : ndarray of int, shape (N,)
        Class indices.

    Returns
    -------
    float
        0.2 to 10; 1 where there are fewer than 100 voxels.
    """
    from scipy.optimize import minimize_scalar

    if len(truth) < LEAST_VOXELS:
        return 1.0
    found = minimize_scalar(
        lambda log: negative_log_likelihood(temper(probabilities, math.exp(log)), truth),
        bounds=(math.log(LOWEST), math.log(HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.clip(math.exp(found.x), LOWEST, HIGHEST))


def expected_calibration_error(probabilities: np.ndarray, truth: np.ndarray, *, bins: int = 15) -> float:
    """Return the mean distance of confidence and accuracy over equally wide bins of confidence, weighted by their size.

    Parameters
    ----------
    probabilities : ndarray, shape (N, C)
    truth : ndarray of int, shape (N,)
        Class indices.
    bins : int

    Returns
    -------
    float
        0 to 1; 0 means that of what is said with 80 % confidence 80 % is right.
    """
    if not len(truth):
        return 0.0
    confidence = np.asarray(probabilities, np.float64).max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    # Bins are open on their left, as in the paper; rounding must not put 1 into a bin of its own.
    index = np.clip(np.ceil(confidence * bins - 1e-9).astype(int) - 1, 0, bins - 1)
    apart = np.bincount(index, confidence - right, minlength=bins)
    return float(np.abs(apart).sum() / len(truth))


def wrong_near(entropy: np.ndarray, wrong: np.ndarray, level: float = 0.3, width: float = 0.1) -> float | None:
    """Return the part of voxels with an entropy near a level at which the prediction is wrong.

    Parameters
    ----------
    entropy : ndarray, shape (N,)
        Divided by ln C, 0 to 1.
    wrong : ndarray of bool, shape (N,)
    level, width : float
        Voxels from level − width to level + width count.

    Returns
    -------
    float or None
        None where fewer than 100 voxels count.
    """
    near = np.abs(entropy - level) <= width
    return float(wrong[near].mean()) if np.count_nonzero(near) >= LEAST_VOXELS else None
