"""Person crops out of ZIP archives of photos: streamed, detected, cut and accounted for, member by member."""

RESULTS_VERSION = 3
"""Raised by hand whenever the same archive, weights and settings would give other results than before, so that a new
release of zipcrop reruns the archives that an older one has done."""
