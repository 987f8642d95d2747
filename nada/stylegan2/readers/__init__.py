"""Readers of other projects' StyleGAN2 checkpoints, as plain data and without running code."""
