"""The worlds: a folder each, with its world.yaml; some draw their images or train their networks with modules."""
