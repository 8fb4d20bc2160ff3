"""The parts that tests are made of: photos, archives, jobs, results, stores, browsers, and the workflow."""
