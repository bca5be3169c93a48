"""The header of the file of a motion network's weights, which is read without torch."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from watchmove.pipeline.errors import InvalidInput

HEADER, VERSION = "watchmove motion network", 1
"""The key in a file's header, and the version of its network in the JSON object that is its value.

There is one key only, because the library writes several in random order, and the digest of the file would be too.
"""

_INSTEAD = "give the file that `watchmove teach` wrote"


def header_of(path: Path) -> dict[str, Any]:
    """The header of a file of a motion network's weights, as `save_network` was given it; read without torch.

    Raises InvalidInput where the file is missing or none of them.
    """
    try:
        with safe_open(path, "numpy") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "null"))
    except (SafetensorError, OSError) as error:
        raise InvalidInput(f"extract.motion_network ({path}): no safetensors file ({error}); {_INSTEAD}") from error
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or header.get("version") != VERSION:
        raise InvalidInput(f"extract.motion_network ({path}): holds no motion network of this version; {_INSTEAD}")
    return header
