"""Results: what a run leaves in the output folder."""
