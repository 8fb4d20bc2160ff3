"""The crop job: one archive, from its ZIP file to its published results."""
