"""fit_schedule(method="art_rl"): the same kind of object as the direct method's, measured by the same pilot."""

from __future__ import annotations

import pytest
import torch

from restart_art.schedules import ArtSchedule, fit_schedule
from restart_art.schedules.art.actor_critic import ActorCriticSettings

from exact import gaussian

SETTINGS = ActorCriticSettings(iterations=60, trajectories=2, steps=16, seed=1)


def fit(model, **changes) -> ArtSchedule:
    noise = torch.randn(16, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    options = {"sigma_min": 0.002, "sigma_max": 80.0, "steps": [6, 10], "method": "art_rl", "settings": SETTINGS}
    return fit_schedule(model, noise, **{**options, **changes})


def test_learned_candidates_meet_the_pilot():
    model, seen = gaussian(), []
    schedule = fit(model, callback=seen.append)
    report = schedule.report
    assert report["method"] == "art_rl"
    assert report["art_rl"]["model_evaluations"] == report["model_evaluations"]
    assert report["model_evaluations"] + report["pilot_evaluations"] == model.evaluations == seen[-1].done
    assert {"art_rl", "art_rl_late"} <= set(report["pilot"][10])
    assert set(report["art_rl"]) >= {"cost", "terminal_error", "history"}
    messages = [p for p in seen if p.message.startswith("ART-RL") and p.sigmas]
    assert len({tuple(p.sigmas) for p in messages}) >= 10  # the curve is live
    assert all(p.done <= p.total for p in seen)
    assert ArtSchedule.from_text(schedule.to_text()).sigmas(10).tolist() == schedule.sigmas(10).tolist()
    # Never worse than the best stock schedule, and here better.
    stock = min(v for k, v in report["pilot"][10].items() if k in ("karras", "exponential"))
    assert report["pilot"][10][report["chosen"][10]] < stock


def test_free_start_off_leaves_one_candidate():
    report = fit(gaussian(), free_start=False, steps=[8]).report
    assert "art_rl" in report["pilot"][8]
    assert "art_rl_late" not in report["pilot"][8]


def test_callback_can_end_the_learning():
    def stop(progress):
        if progress.message.startswith("ART-RL"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(gaussian(), callback=stop)
