"""Shared parts of the adversarial few-shot methods: loop, batches, lengths, warm starts."""
