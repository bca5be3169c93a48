"""Settings of the pretrain step: those of one training, and the seeds that it is repeated with."""

from typing import Self

from pydantic import Field, model_validator

from watchmove.pipeline.settings import Seed
from watchmove.pipeline.settings.pretraining import PretrainingSettings


class PretrainSettings(PretrainingSettings):
    """The trainings of the step: one for each seed, each with a backbone of its own."""

    seeds: tuple[Seed, ...] = Field(
        (),
        description=(
            "Seeds of pretraining; each gives a backbone, which is evaluated with every one of `evaluate.seeds`. "
            "Empty: `pretrain.seed` alone."
        ),
    )

    @model_validator(mode="after")
    def _seeds_are_named_once(self) -> Self:
        if self.seeds and self.seed:
            raise ValueError(f"seed ({self.seed}) has no effect with seeds; set seeds alone")
        # A training counted twice would look like two that agree, and give a confidence interval that is too narrow.
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("a seed appears more than once in seeds; name each once")
        return self

    def all_seeds(self) -> tuple[int, ...]:
        """The seed of each training, at least one."""
        return self.seeds or (self.seed,)

    def with_seed(self, seed: int) -> PretrainingSettings:
        """The settings of the training with one seed."""
        return PretrainingSettings.model_validate({**self.model_dump(exclude={"seeds"}), "seed": seed})
