"""Weights and data that a world fetches: registry, download, archives, licences."""
