"""Two real diffusion checkpoints of 3.8 MB each (one flow, one eps) on handwritten digits, and their host."""

from .checkpoint import TinyDenoiser, checkpoint_path, load_tiny
from .digits import LATENT_SHAPE, DigitClassifier, digit_classifier

__all__ = ["LATENT_SHAPE", "DigitClassifier", "TinyDenoiser", "checkpoint_path", "digit_classifier", "load_tiny"]
