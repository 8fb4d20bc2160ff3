"""ZIP archives: which there are, where they lie, and their members' bytes. Nothing here knows what a photo is."""
