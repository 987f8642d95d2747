"""GAN inversion: images to W+ codes of a generator, by optimisation and by encoders."""
