"""Samplers with k-diffusion's signature: Restart, randomized midpoint, parallel midpoint. Pure torch."""

from .parallel_midpoint import sample_parallel_midpoint
from .randomized_midpoint import sample_randomized_midpoint
from .registry import register_samplers
from .restart import Segment, sample_restart

__all__ = [
    "Segment",
    "register_samplers",
    "sample_parallel_midpoint",
    "sample_randomized_midpoint",
    "sample_restart",
]
