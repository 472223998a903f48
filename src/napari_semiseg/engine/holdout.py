"""Which annotated slices are set aside, to judge a model by slices it has not learned from. Pure functions."""

from __future__ import annotations

from collections.abc import Collection, Mapping

FIRST = 5
"""Annotated slices of a volume from which on one is set aside."""
EVERY = 5
"""One in so many annotated slices is set aside."""
FEWEST = 2
"""Slices that show a class and are learned from, however many are set aside."""


def choose_held_out(
    annotated: Collection[int],
    complete: Collection[int],
    *,
    held: Collection[int] = (),
    decided: Mapping[int, bool] | None = None,
    learned: Collection[int] = (),
    shows: Mapping[int, Collection[int]] | None = None,
) -> frozenset[int]:
    """Choose the slices of one volume that are not learned from.

    One of 5 to 9 annotated slices, two of 10 to 14, and so on. Never an outermost one, since beyond the outermost
    annotated slices a prediction has nothing to hold on to; never a scribbled one, on which a Dice means little; never
    one that an earlier round learned from, whose Dice would flatter; never one without which fewer than two slices show
    a class. Those that are set aside stay so.

    Parameters
    ----------
    annotated, complete : collection of int
        Planes about which something is said, and those of them about which everything is.
    held : collection of int
        What is set aside now.
    decided : mapping of int to bool, optional
        What the annotator decided: True set aside, False learn from it.
    learned : collection of int
        Planes that a round learned from.
    shows : mapping of int to collection of int, optional
        The classes that are painted on each plane.

    Returns
    -------
    frozenset of int
    """
    decided = decided or {}
    order = sorted(annotated)
    chosen = {plane for plane in order if decided.get(plane)}
    wanted = len(order) // EVERY if len(order) >= FIRST else 0
    inner = [plane for plane in order[1:-1] if plane in set(complete) and plane not in decided]
    shown = {plane: frozenset((shows or {}).get(plane, ())) for plane in order}

    def spared(plane: int) -> bool:
        rest = [other for other in order if other != plane and other not in chosen]
        return all(sum(c in shown[other] for other in rest) >= FEWEST for c in shown[plane])

    for plane in inner:
        if plane in set(held) and len(chosen) < wanted and spared(plane):
            chosen.add(plane)
    candidates = [plane for plane in inner if plane not in chosen and plane not in set(learned)]
    rank = {plane: index for index, plane in enumerate(order)}
    while len(chosen) < wanted and (free := [plane for plane in candidates if spared(plane)]):
        # The one farthest, in annotated slices, from those set aside and from both ends.
        others = [0, len(order) - 1, *(rank[plane] for plane in chosen)]
        best = max(free, key=lambda plane: min(abs(rank[plane] - other) for other in others))
        chosen.add(best)
        candidates.remove(best)
    return frozenset(chosen)
