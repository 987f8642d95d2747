"""The networks that measure: Inception, VGG16, and the mini world's own."""
