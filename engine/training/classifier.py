"""A small classifier that reads labels off 8x8 digits.

So that a model's own goodness is seen beside its paired score, which says how well a student copies
its teacher, nothing about the teacher. Where labels exist, the share of samples that show what was
asked for is reported apart. Trained by scripts/train_base_model.py.
"""

from importlib import resources
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from engine.errors import ConfigError

BUNDLED = "bundled:digits"
CLASSIFIER_SHAPE = (8, 8, 1)  # (H, W, C) of what it reads
CLASSIFIER_CLASSES = 10


class DigitClassifier(nn.Module):
    """Two convolutions and two linear layers from (B, 8, 8, 1) in [-1, 1] to (B, 10) logits."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
        self.hidden = nn.Linear(32 * 16, 64)
        self.logits = nn.Linear(64, 10)

    def __call__(self, images: mx.array) -> mx.array:
        """Return (B, 10) logits."""
        x = nn.relu(self.conv1(images))
        x = nn.relu(self.conv2(x))  # (B, 4, 4, 32)
        return self.logits(nn.relu(self.hidden(x.reshape(len(x), -1))))


def load_classifier(name: str) -> DigitClassifier:
    """Return the classifier called `name`; only bundled:digits is known. Raises ConfigError."""
    if name != BUNDLED:
        raise ConfigError(f"quality.classifier is {name!r}; wanted {BUNDLED} or null.")
    model = DigitClassifier()
    file = resources.files("engine") / "assets" / "digits" / "classifier.safetensors"
    model.load_weights(str(Path(str(file))))
    return model


def label_accuracy(classifier: DigitClassifier, samples: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of samples that the classifier reads as their `labels` (n,).

    Samples are (n, H, W, C) in [-1, 1].
    """
    logits = classifier(mx.array(samples.astype(np.float32)))
    return float((np.array(logits).argmax(-1) == labels).mean())
