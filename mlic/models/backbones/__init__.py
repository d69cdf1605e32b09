"""Two backbones, and a place for stored features."""
