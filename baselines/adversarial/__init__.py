"""What the adversarial few-shot methods share: the loop, batches, lengths, warm starts."""
