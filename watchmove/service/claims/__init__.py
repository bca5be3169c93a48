"""The eight claims about features from motion, measured by one series of runs on one world."""
