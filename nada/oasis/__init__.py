"""OASIS, a generator of images from label maps, and its adaptation by NADA (Gal et al. 2021, App. D)."""
