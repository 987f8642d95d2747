"""CLIP: image and text encoders, their files, vocabularies and prompt templates."""
