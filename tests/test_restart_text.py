"""What users type as restart segments: levels in three forms, and errors that point at the segment."""

from __future__ import annotations

import pytest

from restart_art.nodes.parse import parse_segments


@pytest.mark.parametrize(
    "text",
    ['[[3, 2, "75%", "50%"], [4, 1, "#9", "#6"], [3, 1, 0.06, "20%"]]', "3,2,75%,50%\n4, 1, #9, #6\n3, 1, .06, 20 %"],
)
def test_levels_in_every_form(text: str) -> None:
    assert parse_segments(text) == ((3, 2, "75%", "50%"), (4, 1, "#9", "#6"), (3, 1, 0.06, "20%"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("3, 2, 0.06, 0.3\n3, 2, 175%, 20%", "segments, line 2: '175%' is not a level; a level is a sigma"),
        ('[[3, 2, "#1.5", 0.3]]', "segments, entry 1: '#1.5' is not a level"),
        ('[[3, 2, "#-1", 0.3]]', "segments, entry 1: '#-1' is not a level"),
        ("3, 2, %, 0.3", "segments, line 1: '%' is not a level"),
        ('[[3, 1, 0.1, 0.2], [3, 2, "20%", "50%"]]', "segments, entry 2: has t_min 20% and t_max 50%"),
        ("3, 2, #4, #9", "segments, line 1: has t_min #4 and t_max #9"),
        ("3, 2, 0, 50%", "segments, line 1: has t_min 0 and t_max 50%"),
        ("50%, 2, 0.1, 0.3", "segments, line 1: '50%' is not a number"),
        ("[[3, 2, null, 0.3]]", "segments, entry 1: None is not a number"),
        ("[[3, 2, [1], 0.3]]", "segments, entry 1: [1] is not a number"),
        ('[{"N": 3}]', "segments, entry 1: [{'N': 3}] is not four numbers"),
    ],
)
def test_bad_levels_are_pointed_at(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r"^segments, (line|entry) \d") as failure:
        parse_segments(text)
    assert complaint in str(failure.value)
