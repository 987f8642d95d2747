"""Readers of other people's StyleGAN2 checkpoints, as plain data and without running code."""
