"""The live picture of a fit: the learned curve, a stock one beside it, and the error going down."""

from __future__ import annotations

import numpy as np

from restart_art.nodes.sketch import sketch_curve

LEARNED, STOCK = [1.0, 0.8, 0.5, 0.2, 0.0], [1.0, 0.9, 0.7, 0.4, 0.0]
ORANGE, BLUE = (0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)


def where(picture, colour):
    """Rows and columns of the pixels of about this colour."""
    close = np.abs(np.asarray(picture).astype(int) - np.array(colour)).max(axis=2) < 40
    return np.nonzero(close)


def test_error_curve_goes_down_and_leaves_the_schedule_alone() -> None:
    plain = sketch_curve(LEARNED, "euler", {"a": 0.1}, ("simple", STOCK))
    assert len(where(plain, BLUE)[0]) == 0
    rows, columns = where(sketch_curve(LEARNED, "euler", {"a": 0.1}, ("simple", STOCK), trace=[0.4, 0.3, 0.1]), BLUE)
    drawn = rows > 200  # below its label
    first, last = columns[drawn].min(), columns[drawn].max()
    assert rows[drawn & (columns <= first + 3)].max() < rows[drawn & (columns >= last - 3)].min()
    assert len(where(plain, ORANGE)[0]) > 500


def test_one_error_is_no_curve_and_broken_ones_are_left_out() -> None:
    plain = sketch_curve(LEARNED, "euler", {"a": 0.1}, ("simple", STOCK))
    for trace in ([], [0.4], [0.4, float("nan")], [float("inf"), 0.4]):
        assert sketch_curve(LEARNED, "euler", {"a": 0.1}, ("simple", STOCK), trace=trace).tobytes() == plain.tobytes()
    assert sketch_curve(LEARNED, "euler", {}, None, trace=[0.2, 0.2]).size == plain.size


def test_long_lines_end_inside_the_picture() -> None:
    picture = np.asarray(sketch_curve(LEARNED, "a long line " * 20, {"a long name " * 9: 0.1, "b": 0.2}))
    assert picture[:60, -8:].min() > 200


def test_the_foot_names_the_curves_in_their_colours() -> None:
    """Both names below the axis, in orange and grey; before anything is learned only the grey one."""
    foot = lambda picture, colour: (where(picture, colour)[0] > 290).sum()
    grey = (0x8B, 0x92, 0x9A)
    both, before = (sketch_curve(sigmas, "euler", {}, ("karras", STOCK)) for sigmas in (LEARNED, None))
    assert foot(both, ORANGE) > 100
    assert foot(before, ORANGE) == 0
    assert foot(both, grey) > 50
    assert foot(before, grey) > 50


def test_a_longer_line_is_written_smaller_before_it_is_cut() -> None:
    def tall(line):
        rows = np.nonzero(np.asarray(sketch_curve(None, line).convert("L")) < 120)[0]
        return rows.max() - rows.min()

    assert tall("euler: 8 steps: a new grid measured 0.04375, best so far 0.04375 refined") < tall("euler: 8 steps")


def test_further_curves_stand_side_by_side() -> None:
    """ART-RL's cost and terminal error: the second one to the right of the first, which takes the error's place."""
    falling, columns = [1.0, 0.8, 0.7], []
    for traces in ({"cost": falling}, {"cost": falling, "terminal error": falling}, {"none": [1.0], "cost": falling}):
        found = where(sketch_curve(LEARNED, "euler", traces=traces), BLUE)[1]
        columns.append((found.min(), found.max()))
    assert columns[0] == columns[2]
    assert columns[1][0] == columns[0][0]
    assert columns[1][1] > columns[0][1] + 150
