"""Preparation: work that is done once for all archives, before any of them."""
