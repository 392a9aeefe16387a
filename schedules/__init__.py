"""Sigma schedules: EDM, the usual stock schedules, and ART (learned for one model). No comfy import."""

from .art.curve import ArtSchedule, ScheduleError
from .art.fit import FitProgress, fit_schedule
from .edm import edm_sigmas
from .stock import stock_schedules

__all__ = ["ArtSchedule", "FitProgress", "ScheduleError", "edm_sigmas", "fit_schedule", "stock_schedules"]
