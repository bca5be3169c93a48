"""Results of a run: figures over seeds, the champion, growth over frames, drawings for the report, and the export."""
