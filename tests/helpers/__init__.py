"""What tests are made of: photos, archives, results, stores, browsers, and the workflow as a user runs it."""
