"""The networks that measure: Inception, VGG16 (LPIPS), and the perceptual network and judge of mini."""
