"""Settings of the science, one frozen model per concern. Nothing here imports torch or OpenCV, so imports are fast."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from watchmove.pipeline.files.numbers import number_if_text

LARGEST_SEED = 2**64 - 1
"""The largest seed that torch takes."""
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
"""A seed that both NumPy, which takes none below 0, and torch can use."""


class Section(BaseModel):
    """A frozen group of settings. Unknown keys are errors, so that a misspelt key does not silently leave a default."""

    # no number that is not finite: JSON has none, so that a record of such settings could not be read again
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _in_decimal_digits(cls, value: Any, info: ValidationInfo) -> Any:
        """Read numbers that YAML gives as text by the one strict reader: pydantic's own takes `1_0` for 10."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if annotation in (int, float):
            return number_if_text(value)
        # the kinds of a tuple's items, which may be annotated with their limits
        kinds = {kind for item in get_args(annotation) for kind in (item, *get_args(item)[:1])}
        if isinstance(value, list | tuple) and kinds & {int, float}:
            return [number_if_text(item) for item in value]
        return value
