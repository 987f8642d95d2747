"""The latent space after adaptation: inversion, editing, CLIP space, interpolation, OASIS (Gal et al. 2021, §5.2)."""
