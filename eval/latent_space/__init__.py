"""The latent space after adaptation: what an adapted generator keeps of its source's (Gal et al. 2021, §5.2)."""
