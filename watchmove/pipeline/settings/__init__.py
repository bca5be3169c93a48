"""Settings of the science, one frozen model per concern. Light to import: nothing here loads torch or OpenCV."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings. Unknown keys are refused, so a typing mistake never silently means a default."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
