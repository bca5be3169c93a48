"""Learning rate of each step: a linear rise, then a fall to zero by a cosine or in drops."""

import math

from pipeline.settings.pretraining import PretrainingSettings

_DROP_FACTOR = 0.1


def learning_rate(iteration: int, settings: PretrainingSettings) -> float:
    """Learning rate in step `iteration`, counted from 0."""
    warmup = settings.warmup_fraction * settings.iterations
    if iteration < warmup:
        return settings.learning_rate * (iteration + 1) / (warmup + 1)
    if settings.schedule == "step":
        drops = sum(iteration >= fraction * settings.iterations for fraction in settings.drop_fractions)
        return settings.learning_rate * _DROP_FACTOR**drops
    done = (iteration - warmup) / (settings.iterations - warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
