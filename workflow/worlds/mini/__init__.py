"""The embedded world: its camera, its language, and the training of its networks."""
