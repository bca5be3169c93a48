"""What a run found: result, champion, growth, figures, pictures, the report and the export."""
