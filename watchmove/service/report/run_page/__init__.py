"""The page of a run: what came in, what was kept, what was learnt from it, and how sure that is."""
