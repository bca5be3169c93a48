"""Settings of the science, one frozen model per concern. Nothing here imports torch or OpenCV, so imports are fast."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings. Unknown keys are errors, so that a misspelt key does not silently leave a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
