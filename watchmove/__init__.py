"""Learning features by watching objects move: the science in `pipeline`, everything with a side effect in `service`."""
