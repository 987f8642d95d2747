"""Images: encoded files, folders and archives of them, and tensors."""
