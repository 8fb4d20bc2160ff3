"""Images: what bytes are, what they take, and their pixels. Nothing here knows of archives."""
