"""Why a run kept or rejected a video and its frames, and with which settings a frame would be kept."""
