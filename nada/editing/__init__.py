"""Latent editing: InterFaceGAN, StyleCLIP and StyleFlow, found on one generator and replayed on others.

StyleCLIP's mapper is in `nada/mapper.py` and `nada/latent_maps.py`.
"""
