"""Everything with a side effect: settings, object store, steps, runner, metrics, command line and reports."""
