"""The settings in which two runs differ, those of the machine apart."""

from collections.abc import Iterator, Mapping
from typing import Any

from watchmove.service.records.record import deciding
from watchmove.service.records.run_settings import flat
from watchmove.service.report.run_comparison.differences import SettingDifference

_MACHINE_SETTINGS = frozenset(
    {
        *(f"pretrain.{name}" for name in ("device", "max_device_batch", "crop_on", "compile")),
        *(f"pretrain.{name}" for name in ("checkpoint_every_iterations", "keep_checkpoints")),
        *(f"evaluate.detector.{name}" for name in ("device", "rois_per_forward", "checkpoint_every_iterations")),
    }
)
"""Settings outside of the section `work` that change no result but by rounding, as the machine may need them."""


def setting_differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[SettingDifference]:
    """Yield the settings that differ between two trees of recorded settings, in the order of the first."""
    one, two = flat(a), flat(b)
    deciding_names = flat(deciding(a)).keys() | flat(deciding(b)).keys()
    for name in dict.fromkeys((*one, *two)):
        if one.get(name) != two.get(name):
            of_machine = name not in deciding_names or name in _MACHINE_SETTINGS
            yield SettingDifference(name=name, a=one.get(name), b=two.get(name), of_machine=of_machine)
