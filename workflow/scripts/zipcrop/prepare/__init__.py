"""Preparation: what is done once for all archives, before any of them."""
