"""Writers of the published file formats, one file a format; equal tensors give equal bytes.

Only what the readers need is written. StyleGAN2 tensors come under NVlabs' PyTorch names.
"""
