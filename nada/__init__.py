"""StyleGAN-NADA (Gal et al. 2021): CLIP-guided adaptation of a StyleGAN2 generator."""
