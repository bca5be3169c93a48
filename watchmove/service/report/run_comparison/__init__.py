"""The comparison of two runs: what their records say, the frames that both have, their figures, and the page."""
