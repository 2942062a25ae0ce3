"""Images -> features: files, networks, and the cache between them."""
