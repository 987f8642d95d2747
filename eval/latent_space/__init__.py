"""Measurements of the latent space of a generator and of its adapted descendants (Gal et al. 2021, §5.2)."""
