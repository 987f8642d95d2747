"""StyleGAN2 (Karras et al. 2020) in plain PyTorch: networks, adversarial training, files."""
