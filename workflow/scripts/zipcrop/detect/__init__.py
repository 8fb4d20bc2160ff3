"""Detection: pixels in, persons out."""
