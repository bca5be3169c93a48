"""Decides which listed videos a run takes: by licence, by duration, and by a sample of the rest."""

import hashlib
import re

from watchmove.service.planning.sources.listed import ListedVideo
from watchmove.service.records.outcomes import Credit
from watchmove.service.settings.settings import PlanSettings

LEFT_OUT = ("licence", "licence-unknown", "too-short", "too-long", "not-in-sample")
"""Why a listed video is left out by the settings: a closed list."""
_USES = {"commercial": "nc", "derivatives": "nd"}
"""Uses that the settings may require, and the part of a licence's name that forbids each."""
_OF_URL = re.compile(r"creativecommons\.org/(?:licenses|publicdomain)/([a-z+-]+)")
_SHORT = re.compile(r"(?:cc[ -])?(by[a-z-]*|cc0|publicdomain)(?: [0-9.]+)?")
# Versions up to 3.0 are called NoDerivs, 4.0 NoDerivatives.
_WORDS = {"Attribution": "by", "ShareAlike": "sa", "NonCommercial": "nc", "NoDerivs": "nd", "NoDerivatives": "nd"}
# Parts of URLs: publicdomain/zero, publicdomain/mark, and the retired licenses/publicdomain.
_PUBLIC = {"zero": "cc0", "mark": "publicdomain", "publicdomain": "publicdomain"}
_KNOWN = frozenset({"by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd", "cc0", "publicdomain"})
_ORDER = ("by", "nc", "sa", "nd")


def why_not(video: ListedVideo, settings: PlanSettings) -> str:
    """The reason why a video is left out, one of LEFT_OUT; empty if it is taken.

    A video of unknown duration passes the limits of duration; one of unknown licence fails a choice of licences.
    """
    if settings.licences and (reason := _licence_forbids(video.credit, settings.licences)):
        return reason
    if 0 < video.duration_seconds < settings.min_video_seconds:
        return "too-short"
    if 0 < settings.max_video_seconds < video.duration_seconds:
        return "too-long"
    if settings.sample_fraction < 1 and not in_sample(video.key, settings.sample_fraction, settings.sample_seed):
        return "not-in-sample"
    return ""


def in_sample(key: str, fraction: float, seed: int) -> bool:
    """Whether a key is in the sample, decided by its hash, so that a sample is part of every larger one."""
    # the key decides and not the row, so that a list in another order, or with more videos, keeps its sample
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    return int.from_bytes(digest[:8]) < fraction * 2.0**64


def short_name(credit: Credit) -> str:
    """A Creative Commons licence as `by-nc-sa`, `cc0` or `publicdomain`; empty if it is unknown.

    It is read from the URL, else from the name: "Attribution-ShareAlike License", "CC BY-SA 4.0" or "by-sa".
    """
    if found := _OF_URL.search(credit.licence_url.lower()):
        name = _PUBLIC.get(found[1], found[1])
    elif credit.licence_url:  # an unknown URL is not overruled by a name: a licence is never guessed
        name = ""
    elif found := _SHORT.fullmatch(credit.licence.strip().lower()):
        name = found[1]
    else:
        parts = {_WORDS.get(word, "") for word in re.split(r"[ -]", credit.licence.strip().removesuffix(" License"))}
        # one unknown word makes the name unknown: it might forbid something
        name = "-".join(part for part in _ORDER if part in parts) if "" not in parts else ""
    return name if name in _KNOWN else ""


def _licence_forbids(credit: Credit, wanted: tuple[str, ...]) -> str:
    name = short_name(credit)
    if not name:
        return "licence-unknown"
    parts = name.split("-")
    if any(_USES[word] in parts for word in wanted if word in _USES):
        return "licence"
    named = [word for word in wanted if word not in _USES]
    return "licence" if named and name not in named else ""
