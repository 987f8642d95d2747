"""Whether an adapted generator keeps the latent space of its source (Gal et al. 2021, §5.2, App. E-F)."""
